"""Grammars of answers, from JSON Schemas, choices and patterns, for every engine.

One translation serves all engines, so that a schema means the same on each. What it cannot express it refuses: an
engine that ignores a keyword without a word gives answers that break the schema.
"""
