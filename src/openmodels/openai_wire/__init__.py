"""The OpenAI wire format: requests encoded, replies decoded."""
