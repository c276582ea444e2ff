"""`/v1/chat/completions` and `/v1/completions`."""

from collections.abc import AsyncIterator
from typing import ClassVar

from openmodels.http.sse import encode_event
from openmodels.model import Model
from openmodels.openai_wire import replies
from openmodels.openai_wire.bodies import ChatBody, CompletionBody
from openmodels.serve.endpoint import (
    ModelEndpoint,
    fetch_images,
    forward,
    head_of,
    joined_usage,
    read_reply,
    stream_events,
    with_one_call,
)
from openmodels.serve.exchange import HttpExchange
from openmodels.serve.failures import ErrorAnswer, encode_openai, to_json


class ChatEndpoint(ModelEndpoint[ChatBody]):
    """Answers chats."""

    path: ClassVar[str] = "/v1/chat/completions"
    body = ChatBody

    def most_tokens(self, body: ChatBody) -> int:
        """Return the tokens that the answer to a body may have."""
        return int(body.max_completion_tokens or body.max_tokens or 0) * (body.n or 1)

    async def answer(self, exchange: HttpExchange, body: ChatBody, model: Model) -> None:
        """Ask the model and send its answer."""
        options = self.limit(body.options(), model)
        forward(options, body.forwarded(), exchange, model)
        messages = await fetch_images(body.messages, model)
        is_single = body.parallel_tool_calls is False
        if body.stream:
            head = head_of("chat.completion.chunk", "chatcmpl", exchange.model)
            encoder = replies.ChunkEncoder(head, include_usage=body.includes_usage, only_first_call=is_single)
            async with model.astream(messages, **options) as stream:
                await exchange.send_events(stream_events(self, exchange, stream, encoder, _encode_failure))
            return
        reply = await read_reply(model, messages, options)
        self.note(exchange, reply)
        if is_single:
            reply = with_one_call(reply)
        await exchange.send_json(replies.encode_chat(reply, head_of("chat.completion", "chatcmpl", exchange.model)))


def _encode_failure(answer: ErrorAnswer) -> bytes:
    return encode_event(to_json(encode_openai(answer)).decode())


class CompletionEndpoint(ModelEndpoint[CompletionBody]):
    """Continues texts."""

    path: ClassVar[str] = "/v1/completions"
    body = CompletionBody

    def most_tokens(self, body: CompletionBody) -> int:
        """Return the tokens that the answers to a body may have."""
        return int(body.max_tokens or 0) * (body.n or 1) * len(body.prompts)

    async def answer(self, exchange: HttpExchange, body: CompletionBody, model: Model) -> None:
        """Ask the model and send its answer."""
        options = self.limit(body.options(), model)
        forward(options, body.forwarded(), exchange, model)
        answered = [await model.acomplete(prompt, **options) for prompt in body.prompts]
        exchange.settle(joined_usage(answered), sum((reply.cost or 0.0 for reply in answered), 0.0))
        head = head_of("text_completion", "cmpl", exchange.model)
        echoed = body.prompts if body.echo else ()
        encoded = replies.encode_completion(answered, head, echoed)
        if not body.stream:
            await exchange.send_json(encoded)
            return
        # `Model` continues a text as a whole, so the stream has one chunk.
        usage = encoded.pop("usage", None)
        chunks = [encoded, *([{**head, "choices": [], "usage": usage}] if body.includes_usage else [])]

        async def events() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield encode_event(to_json(chunk).decode())
            yield replies.DONE

        await exchange.send_events(events())
