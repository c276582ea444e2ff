"""The life of a call: request, attempts, stream, reply, and their observers."""
