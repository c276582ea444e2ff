"""The data that flows through openmodels: messages, requests and replies."""

from openmodels.types.messages import ImagePart, Message, ToolCall
from openmodels.types.reply import Delta, Reply, TokenLogprob, Usage
from openmodels.types.request import ChatRequest

__all__ = ["ChatRequest", "Delta", "ImagePart", "Message", "Reply", "TokenLogprob", "ToolCall", "Usage"]
