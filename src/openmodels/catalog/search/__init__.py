"""From a search text to the records that answer it."""
