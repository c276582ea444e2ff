"""Bulk work: many prompts through one model, in order, a bounded number at once, resumable.

`runs` drives a `Job`, sync or async; `job` decides what is next and what ends a run; `journal` is
the file that lets a run go on; `items` is what comes out.
"""
