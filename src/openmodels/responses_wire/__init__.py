"""The wire format of OpenAI's Responses: requests decoded, replies encoded."""
