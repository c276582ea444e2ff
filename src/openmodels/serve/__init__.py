"""A server for any set of models: the wires of OpenAI, Anthropic and decisions."""
