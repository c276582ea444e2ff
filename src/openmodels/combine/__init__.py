"""Combined models: several models that answer as one, each combination a `Model`."""
