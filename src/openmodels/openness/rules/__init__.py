"""The rules of each openness criterion."""
