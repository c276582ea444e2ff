"""`/v1/responses`: OpenAI's newer API, without anything kept between requests."""

from __future__ import annotations

from typing import ClassVar

from openmodels.model import Model
from openmodels.responses_wire import replies
from openmodels.responses_wire.bodies import ResponsesBody
from openmodels.serve.endpoint import ModelEndpoint, fetch_images, forward, read_reply, stream_events
from openmodels.serve.exchange import HttpExchange
from openmodels.serve.failures import ErrorAnswer

_CODES = {429: "rate_limit_exceeded", 400: "invalid_prompt", 404: "invalid_prompt"}
"""The wire's words for what ends a response; others are errors of the server."""


class ResponsesEndpoint(ModelEndpoint[ResponsesBody]):
    """Answers with a response."""

    path: ClassVar[str] = "/v1/responses"
    body = ResponsesBody

    def most_tokens(self, body: ResponsesBody) -> int:
        """Return the tokens that the answer to a body may have."""
        return body.max_output_tokens or 0

    async def answer(self, exchange: HttpExchange, body: ResponsesBody, model: Model) -> None:
        """Ask the model and send its answer."""
        options = self.limit(body.options(), model)
        forward(options, body.forwarded(), exchange, model)
        messages = await fetch_images(body.chat_messages(), model)
        if not body.stream:
            reply = await read_reply(model, messages, options)
            self.note(exchange, reply)
            await exchange.send_json(replies.encode_response(reply, body, exchange.model))
            return
        encoder = replies.ResponseEncoder(body, exchange.model)

        def encode_failure(answer: ErrorAnswer) -> bytes:
            return encoder.fail(_CODES.get(answer.status, "server_error"), answer.message)

        async with model.astream(messages, **options) as stream:
            await exchange.send_events(stream_events(self, exchange, stream, encoder, encode_failure))
