"""HTTP for everything that speaks it: addresses, tokens, limits, deadlines, and errors from a status."""
