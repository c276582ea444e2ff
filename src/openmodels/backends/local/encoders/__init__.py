"""Embedding and reranking on this machine."""
