"""Backends: the places where models run.

A backend is one class with one required method; see `openmodels.backends.base`.
"""
