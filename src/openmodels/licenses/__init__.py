"""Licenses: the table of known ones, expressions, and identification from text."""
