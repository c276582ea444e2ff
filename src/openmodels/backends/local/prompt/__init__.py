"""From a chat request to the prompt of a local model."""
