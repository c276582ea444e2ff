"""HTTP: addresses, keys, connections, deadlines, and errors from a status."""
