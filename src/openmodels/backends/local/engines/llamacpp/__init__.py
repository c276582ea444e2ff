"""The llamacpp engine."""
