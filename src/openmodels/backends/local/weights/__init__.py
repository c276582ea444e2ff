"""Where a local model's files are, what they hold, and their cached forms."""
