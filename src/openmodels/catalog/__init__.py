"""Catalogs of models, joined in one index and shown as records."""
