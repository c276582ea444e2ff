"""Scores and decisions of an OpenAI-compatible server, without I/O.

A server says what it can do by how it answers. A route that it does not have leads to the next way; where no way gives
exact probabilities, the call is refused.
"""

from collections.abc import Generator
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from openmodels.errors import InvalidRequest, OpenModelsError, UnsupportedFeature
from openmodels.openai_wire import encode, prompt_logprobs, systemone
from openmodels.openai_wire.decode import json_object, read_model_and_usage
from openmodels.openai_wire.logprobs import read_logprobs
from openmodels.output.decisions import LabelledQuestion, label_question, turn_thinking_off
from openmodels.types.decisions import DecideRequest, Decision, Decisions
from openmodels.types.messages import Message
from openmodels.types.reply import Usage
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

_NO_ROUTE = frozenset({404, 405, 501})
_TOP = 20
"""Likeliest tokens that servers list at most."""


class Step(NamedTuple):
    """A request to the server.

    Attributes:
        path: Below the server's address; below its root where `is_root`.
        body: The JSON body.
        texts: The prompt's texts, which no error may quote.
    """

    path: str
    body: dict[str, Any]
    texts: tuple[str, ...]
    is_root: bool = False


class ServerScoring:
    """The ways in which one server scores and decides, and which of them it has."""

    def __init__(self) -> None:
        self._has_tokenize = self._has_systemone = True

    def score(self, request: ScoreRequest, model: str | None) -> Generator[Step, bytes, Scores]:
        """Return the scores by token ids, else by an echo.

        Raises:
            UnsupportedFeature: The server gives no exact log-probabilities of a given text.
            OpenModelsError: What the requests raise.
        """
        texts = (request.prompt or "", *(message.text for message in request.messages), *request.continuations)
        prompt = yield from self._tokenize_prompt(request, model, texts)
        if prompt:
            continuations = []
            for number, text in enumerate(request.continuations):
                answer = yield Step("/tokenize", prompt_logprobs.encode_text(text, model), texts, is_root=True)
                continuations.append(prompt_logprobs.read_tokens(answer))
                if not continuations[-1]:
                    raise InvalidRequest(f"continuations[{number}]: the model's tokenizer makes no token of it.")
            sequences = [prompt + tokens for tokens in continuations]
            answer = yield Step("/completions", prompt_logprobs.encode_scoring(sequences, request, model), texts)
            scores = prompt_logprobs.read_scores(answer, len(prompt), continuations, request.continuations)
        elif request.prompt is None:
            raise UnsupportedFeature(
                "The server has no /tokenize, so it has no exact 'score' of what follows messages.",
                next_step="Give the prompt as a text, or use a server that has it, e.g. vLLM.",
            )
        else:
            answer = yield Step("/completions", prompt_logprobs.encode_echo(request, model), texts)
            scores = prompt_logprobs.read_echo(answer, request)
        name, usage = read_model_and_usage(json_object(answer))
        return Scores(scores, usage, name or model)

    def _tokenize_prompt(
        self, request: ScoreRequest, model: str | None, texts: tuple[str, ...]
    ) -> Generator[Step, bytes, list[int]]:
        """Return the prompt's tokens; none where the server does not say them."""
        if not self._has_tokenize:
            return []
        try:
            answer = yield Step("/tokenize", prompt_logprobs.encode_prompt(request, model), texts, is_root=True)
        except OpenModelsError as error:
            if error.status not in _NO_ROUTE:
                raise
            self._has_tokenize = False
            return []
        return prompt_logprobs.read_tokens(answer)  # llama.cpp reads another field, and makes no token of none

    def decide(self, request: DecideRequest, model: str | None) -> Generator[Step, bytes, Decisions]:
        """Return the decisions by `/systemone`, or by the labels' probabilities.

        Raises:
            UnsupportedFeature: No way gives a probability for each option.
            OpenModelsError: What the requests raise.
        """
        questions = {name: label_question(request.state, question) for name, question in request.questions.items()}
        if self._has_systemone:
            texts = tuple(question.prompt for question in questions.values())
            try:
                answer = yield Step("/systemone", systemone.encode_request(request, model), texts)
            except OpenModelsError as error:
                if error.status not in _NO_ROUTE:
                    raise
                self._has_systemone = False
            else:
                return systemone.read_decisions(answer, request)
        decisions: dict[str, Decision] = {}
        usages: list[Usage] = []
        for name, question in questions.items():
            try:
                decisions[name], usage = yield from self._decide_by_scores(request, question, model)
            except UnsupportedFeature:
                decisions[name], usage = yield from self._decide_by_likeliest(request, question, model)
            usages.append(usage)
        return Decisions(decisions, reduce(add, usages), model)

    def _decide_by_scores(
        self, request: DecideRequest, question: LabelledQuestion, model: str | None
    ) -> Generator[Step, bytes, tuple[Decision, Usage]]:
        scoring = ScoreRequest(
            messages=(Message(role="user", content=question.prompt),),
            continuations=tuple(question.texts),
            extra=turn_thinking_off(request.extra),
        )
        scores = yield from self.score(scoring, model)
        return question.decide(score.logprob for score in scores.continuations), scores.usage

    def _decide_by_likeliest(
        self, request: DecideRequest, question: LabelledQuestion, model: str | None
    ) -> Generator[Step, bytes, tuple[Decision, Usage]]:
        """Read the labels among the likeliest first tokens; refuse if one is missing."""
        chat = ChatRequest(
            messages=(Message(role="user", content=question.prompt),),
            max_tokens=1,
            temperature=0,
            logprobs=_TOP,
            stream=False,
            extra=turn_thinking_off(request.extra),
        )
        body = encode.encode_chat(chat, model, encode.OPEN_SERVER_OPTIONS)
        answer = json_object((yield Step("/chat/completions", body, (question.prompt,))))
        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        first = next(iter(read_logprobs(choice.get("logprobs"))), None)
        likeliest = {} if first is None else dict(first.top)
        single = question.with_single_labels()
        if missing := [label for label in single.texts if label not in likeliest]:
            raise UnsupportedFeature(
                f"The server gives no exact probability for each option, so it has no 'decide': its {_TOP} likeliest "
                f"first tokens do not hold the label {missing[0]!r}, and it has neither /systemone nor "
                "log-probabilities of given texts.",
                next_step="Give fewer options, use a server that has one of them, e.g. vLLM, or the backend 'local'.",
            )
        _, usage = read_model_and_usage(answer)
        return single.decide(likeliest[label] for label in single.texts), usage
