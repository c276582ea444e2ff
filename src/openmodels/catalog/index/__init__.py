"""The index: one SQLite file that answers searches without a network."""
