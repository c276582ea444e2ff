"""The wire format of Anthropic's API: requests decoded, replies encoded."""
