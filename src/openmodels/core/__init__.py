"""The life of one call: the request, its attempts, the stream of its reply, and what observes them."""
