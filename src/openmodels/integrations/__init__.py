"""Adapters to other packages, which are imported when an adapter is used."""
