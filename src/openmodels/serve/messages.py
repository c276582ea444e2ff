"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's API."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

from openmodels.anthropic_wire import replies
from openmodels.anthropic_wire.bodies import CountBody, MessagesBody
from openmodels.http.sse import encode_event
from openmodels.model import Model
from openmodels.serve.endpoint import ModelEndpoint, fetch_images, read_reply, stream_events, with_one_call
from openmodels.serve.exchange import HttpExchange
from openmodels.serve.failures import EncodeFailure, ErrorAnswer, encode_anthropic, to_json


class MessagesEndpoint(ModelEndpoint[MessagesBody]):
    """Answers messages."""

    path: ClassVar[str] = "/v1/messages"
    body = MessagesBody
    encode_failure: ClassVar[EncodeFailure] = staticmethod(encode_anthropic)

    def most_tokens(self, body: MessagesBody) -> int:
        """Return the tokens that the answer to a body may have."""
        return body.max_tokens

    async def answer(self, exchange: HttpExchange, body: MessagesBody, model: Model) -> None:
        """Ask the model and send its answer."""
        options = self.limit(body.options(), model)
        messages = await fetch_images(body.chat_messages(), model)
        head = {"id": f"msg_{uuid4().hex}", "model": exchange.model}
        if body.stream:
            encoder = replies.MessageEncoder(head, only_first_call=body.calls_one_tool)
            async with model.astream(messages, **options) as stream:
                events = stream_events(self, exchange, stream, encoder, _encode_failure)
                await exchange.send_events(events)
            return
        reply = await read_reply(model, messages, options)
        self.note(exchange, reply)
        await exchange.send_json(replies.encode_message(with_one_call(reply) if body.calls_one_tool else reply, head))


def _encode_failure(answer: ErrorAnswer) -> bytes:
    return encode_event(to_json(encode_anthropic(answer)).decode(), "error")


class CountEndpoint(ModelEndpoint[CountBody]):
    """Counts the tokens of messages."""

    path: ClassVar[str] = "/v1/messages/count_tokens"
    body = CountBody
    encode_failure: ClassVar[EncodeFailure] = staticmethod(encode_anthropic)

    async def answer(self, exchange: HttpExchange, body: CountBody, model: Model) -> None:
        """Count the tokens and send their number."""
        messages, options = body.chat_messages(), body.options()
        tokens = None
        if model.backend.origin is None:
            # A model on this machine counts them by reading the prompt. The call to come finds it in the cache.
            tools: dict[str, Any] = {"tools": options["tools"]} if "tools" in options else {}
            read = await fetch_images(messages, model)
            reply = await read_reply(model, read, self.limit({**tools, "max_tokens": 1}, model))
            self.note(exchange, reply)
            tokens = reply.usage.input_tokens
        if tokens is None:
            # A server would be paid for it, so the number is an estimate: English has four characters a token.
            tokens = len(to_json([messages, options.get("tools", [])])) // 4
            exchange.notes["openmodels-estimate"] = "characters/4"
        await exchange.send_json({"input_tokens": tokens})
