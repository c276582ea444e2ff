"""Choosing a model: what fits in a machine's memory."""
