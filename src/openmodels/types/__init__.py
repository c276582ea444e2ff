"""Data only: messages, options, requests, replies; no I/O."""
