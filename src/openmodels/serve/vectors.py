"""`/v1/embeddings`, `/v1/rerank` and `/v1/systemone`: no text is generated."""

from __future__ import annotations

from typing import Any, ClassVar

from openmodels.core import request as requests
from openmodels.model import Model
from openmodels.openai_wire import embeddings, rerank, systemone
from openmodels.openai_wire.bodies import EmbeddingsBody, RerankBody, SystemOneBody
from openmodels.serve.endpoint import ModelEndpoint
from openmodels.serve.exchange import HttpExchange
from openmodels.serve.failures import EncodeFailure, ErrorAnswer, encode_openai
from openmodels.serve.served_models import ServedModel

_ALIAS = "jev-latest"


class EmbeddingsEndpoint(ModelEndpoint[EmbeddingsBody]):
    """Embeds texts."""

    path: ClassVar[str] = "/v1/embeddings"
    body = EmbeddingsBody
    generates: ClassVar[bool] = False

    async def answer(self, exchange: HttpExchange, body: EmbeddingsBody, model: Model) -> None:
        """Embed the texts and send the vectors."""
        options = self.options_of(body, "dimensions", "extra")
        result = await model.aembed(body.texts, **options)
        exchange.settle(result.usage)
        is_base64 = body.encoding_format == "base64"
        await exchange.send_json(embeddings.encode_embeddings(result, exchange.model, as_base64=is_base64))


class RerankEndpoint(ModelEndpoint[RerankBody]):
    """Ranks documents by a query."""

    path: ClassVar[str] = "/v1/rerank"
    body = RerankBody
    generates: ClassVar[bool] = False

    async def answer(self, exchange: HttpExchange, body: RerankBody, model: Model) -> None:
        """Rank the documents and send the scores."""
        ranking = await model.arerank(body.query, body.texts, **self.options_of(body, "top_n", "extra"))
        exchange.settle(ranking.usage)
        with_documents = bool(body.return_documents)
        await exchange.send_json(rerank.encode_ranking(ranking, exchange.model, with_documents=with_documents))


def encode_detail(answer: ErrorAnswer) -> dict[str, Any]:
    """Return the body of an error as clients of decisions and OpenAI's read it."""
    detail: Any = {"error_type": answer.type, "message": answer.message}
    if answer.status == 422:
        place = answer.param.split(".") if answer.param else []
        detail = [{"loc": ["body", *place], "msg": answer.message, "type": answer.code or "value_error"}]
    return {**encode_openai(answer), "detail": detail}


class DecisionEndpoint(ModelEndpoint[SystemOneBody]):
    """Answers typed questions with probabilities."""

    path: ClassVar[str] = "/v1/systemone"
    body = SystemOneBody
    encode_failure: ClassVar[EncodeFailure] = staticmethod(encode_detail)
    validation_status: ClassVar[int] = 422

    def find_model(self, body: SystemOneBody) -> ServedModel:
        """Return the model that a body names; the wire's alias is the first that decides."""
        if body.model == _ALIAS:
            for served in self.state.models:
                if served.model.capabilities.decide is not False:
                    return served
        return super().find_model(body)

    async def answer(self, exchange: HttpExchange, body: SystemOneBody, model: Model) -> None:
        """Ask the questions and send the decisions."""
        options: Any = self.options_of(body, "extra")
        defaults = requests.CallDefaults(model.timeout, model.max_retries)
        request, retries = requests.build_decide(model.backend, body.state, body.questions, options, defaults)
        # `Model.adecide` leaves out the usage, which the wire demands.
        runner = model._runner  # noqa: SLF001
        decisions = await runner.arun(request, retries, model.backend.adecide)
        exchange.settle(decisions.usage)
        await exchange.send_json(systemone.encode_decisions(decisions, request.questions, exchange.model))
