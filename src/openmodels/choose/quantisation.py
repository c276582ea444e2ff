"""`om.quantisation_loss`: what a quantised version of a model loses on prompts."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from openmodels import background, columns, escaping
from openmodels.choose.fit_report import gigabytes
from openmodels.errors import ErrorBoundary, InvalidRequest, UnsupportedFeature
from openmodels.model import Model
from openmodels.types.reply import Reply
from openmodels.types.scores import ContinuationScore, ScoreRequest

_TOP = 20
"""Likeliest tokens that engines list at each position."""
_COUNTED = "The vocabularies were compared by the number of tokens of each text alone: an engine does not score."
_SHARED = 0.9
"""The least share of a vocabulary's tokens that a variant has too: tokens may be added to either."""
_SCORED = (
    "One of the two lists no likely tokens: kl counts all but the answer's own token as one, and the agreement is the "
    "share of its tokens that are the variant's likeliest."
)
_PART = "\ufffd"
"""The text of a token that holds part of a character; such tokens cannot be told apart."""


@dataclass(frozen=True, slots=True)
class QuantisationLoss:
    """What a variant of a model loses against it on prompts.

    The distributions are compared after the same tokens, along the base's greedy answers.

    Attributes:
        base: The reference of the base.
        variant: That of the variant.
        prompts: How many prompts.
        tokens: How many tokens of answers were compared.
        kl: The Kullback-Leibler divergence of the variant from the base, in nats per token. It is over the whole
            vocabulary where transformers runs both. Elsewhere it is a lower bound, which counts the tokens that both
            list among their 20 likeliest one by one, and all others as one.
        missing_mass: The mean probability, by the base, of the tokens that are counted as one; at 0, `kl` is exact.
        agreement: The share of positions with the same likeliest token.
        same_answers: How many prompts both answer alike, greedily.
        base_perplexity: The base's perplexity on its own answers; None where an engine does not score.
        perplexity: That of the variant on the same answers.
        base_bytes: Bytes of the base's weight files; None where they are not on this disk.
        variant_bytes: Those of the variant.
        base_speed: Tokens per second of the base's answers here, prompts included.
        variant_speed: Those of the variant.
        notes: What could not be measured.
    """

    base: str
    variant: str
    prompts: int
    tokens: int
    kl: float
    missing_mass: float
    agreement: float
    same_answers: int
    base_perplexity: float | None
    perplexity: float | None
    base_bytes: int | None
    variant_bytes: int | None
    base_speed: float | None
    variant_speed: float | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the figures as a table of at most 80 columns."""
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"base     {self.base}", f"variant  {self.variant}", ""]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        lines += [line for note in self.notes for line in columns.wrap(note, 80)]
        return "\n".join(escaping.escape_line(line) if line else line for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {**asdict(self), "notes": list(self.notes)}

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        yield "", "base", "variant"
        if self.missing_mass:
            yield "KL per token, at least", "", f"{self.kl:.4f} nats"
            yield "counted as one token", "", f"{self.missing_mass:.1%}"
        else:
            yield "KL per token", "", f"{self.kl:.4f} nats"
        yield "same likeliest token", "", f"{self.agreement:.1%} of {self.tokens:,}"
        yield "same greedy answer", "", f"{self.same_answers} of {self.prompts}"
        for name, first, second, form in (
            ("perplexity", self.base_perplexity, self.perplexity, "{:.3f}"),
            ("speed", self.base_speed, self.variant_speed, "{:,.1f} tok/s"),
        ):
            cells = ["" if value is None else form.format(value) for value in (first, second)]
            yield name, cells[0], cells[1]
        sizes = ["" if size is None else gigabytes(size) for size in (self.base_bytes, self.variant_bytes)]
        yield "size", sizes[0], sizes[1]

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        title = f"<p>{html.escape(self.variant)} against {html.escape(self.base)}</p>"
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows()
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"{title}<table>{rows}</table>{notes}"


@ErrorBoundary()
def quantisation_loss(
    base: str | Model, variant: str | Model, prompts: Iterable[str], *, max_tokens: int = 32
) -> QuantisationLoss:
    """Return what a variant of a model loses against it on prompts.

    Args:
        base: The full-precision model: a reference, or a `Model`, which stays open.
        variant: The quantised one, with the same vocabulary.
        prompts: Texts, taken as they stand.
        max_tokens: Tokens of each answer along which the two are compared.

    Raises:
        InvalidRequest: A prompt is missing, an argument is wrong, or the two do not share the vocabulary.
        UnsupportedFeature: An engine neither lists log-probabilities nor scores.
        OpenModelsError: What `Model.complete` raises.
    """
    return _measure(base, variant, prompts, max_tokens)


async def aquantisation_loss(
    base: str | Model, variant: str | Model, prompts: Iterable[str], *, max_tokens: int = 32
) -> QuantisationLoss:
    """Return what a variant loses: the async twin of `quantisation_loss`.

    Raises:
        OpenModelsError: As `quantisation_loss` does.
    """
    with ErrorBoundary():
        return await background.arun(_measure, base, variant, prompts, max_tokens)


def _measure(base: str | Model, variant: str | Model, prompts: Iterable[str], max_tokens: int) -> QuantisationLoss:
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise InvalidRequest(
            "prompts: expected texts, at least one.", next_step='Write ["A first prompt", "A second"].'
        )
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise InvalidRequest(f"max_tokens: {str(max_tokens)[:40]!r} is not a number of tokens from 1 on.")
    opened: list[Model] = []
    try:
        models = []
        for model in (base, variant):
            if isinstance(model, str):
                model = Model(model)  # noqa: PLW2901 - a reference becomes its model
                opened.append(model)
            models.append(model)
        return _Measurement(*models).run(texts, max_tokens)
    finally:
        for model in opened:
            model.close()


class _Measurement:
    """The sums over the positions that were compared."""

    def __init__(self, base: Model, variant: Model) -> None:
        self.models = (base, variant)
        self.divergences: list[float] = []
        self.masses: list[float] = []
        self.same = self.same_answers = 0
        self.spent = [[0, 0.0], [0, 0.0]]
        self.sums, self.scored = [0.0, 0.0], 0
        self.notes: list[str] = []

    def run(self, prompts: Sequence[str], max_tokens: int) -> QuantisationLoss:
        if all(_has_distributions(model) for model in self.models):
            for prompt in prompts:
                self.compare_distributions(prompt, max_tokens)
        else:
            self.compare_lists(prompts, max_tokens)
        if not self.divergences:
            raise InvalidRequest("prompts: the base answers none of them with a token.")
        base, variant = self.models
        count = len(self.divergences)
        perplexities = [math.exp(-total / self.scored) if self.scored else None for total in self.sums]
        sizes = [_count_bytes(model) for model in self.models]
        speeds = [tokens / seconds if tokens and seconds else None for tokens, seconds in self.spent]
        return QuantisationLoss(
            base=base.reference,
            variant=variant.reference,
            prompts=len(prompts),
            tokens=count,
            kl=math.fsum(self.divergences) / count,
            missing_mass=math.fsum(self.masses) / count,
            agreement=self.same / count,
            same_answers=self.same_answers,
            base_perplexity=perplexities[0],
            perplexity=perplexities[1],
            base_bytes=sizes[0],
            variant_bytes=sizes[1],
            base_speed=speeds[0],
            variant_speed=speeds[1],
            notes=tuple(self.notes),
        )

    def compare_distributions(self, prompt: str, max_tokens: int) -> None:
        """Compare whole distributions along the base's answer."""
        answers = [self.complete(number, prompt, max_tokens, None).text for number in (0, 1)]
        self.same_answers += answers[0] == answers[1]
        if not answers[0]:
            return
        request = ScoreRequest(prompt=prompt, continuations=(answers[0],), with_distributions=True)
        first, second = (model.backend.score(request) for model in self.models)
        scores = [result.continuations[0] for result in (first, second)]
        ids, other_ids = first.vocabulary or {}, second.vocabulary or {}
        if (
            any(other_ids.get(token, number) != number for token, number in ids.items())
            or first.usage.input_tokens != second.usage.input_tokens
            or [token.id for token in scores[0].tokens] != [token.id for token in scores[1].tokens]
            or len(ids.keys() & other_ids.keys()) < _SHARED * len(ids)
        ):
            raise _other_vocabulary(self.models)
        self.add_perplexity(scores)
        for token, other in zip(scores[0].tokens, scores[1].tokens, strict=True):
            # The rows that fill a table of tokens up may differ.
            rows = min(len(token.distribution), len(other.distribution))
            base, variant = (item.distribution[:rows].double() for item in (token, other))
            self.divergences.append(max(0.0, float((base.exp() * (base - variant)).nansum())))
            self.masses.append(0.0)
            self.same += int(base.argmax()) == int(variant.argmax())

    def compare_lists(self, prompts: Sequence[str], max_tokens: int) -> None:
        """Compare the likeliest tokens, or where none are listed the answer's own."""
        try:
            answers = [self.follow_lists(prompt, max_tokens) for prompt in prompts]
        except UnsupportedFeature:
            # An engine that lists no likely tokens may score given ones.
            self.notes.append(_SCORED)
            for prompt in prompts:
                self.compare_scored(prompt, max_tokens)
            return
        try:
            for prompt, answer in zip(prompts, answers, strict=True):
                if answer:
                    self.add_perplexity(self.score(prompt, answer))
        except UnsupportedFeature as error:
            self.sums, self.scored = [0.0, 0.0], 0
            self.notes += [f"Perplexity: {error.cause}", _COUNTED]

    def follow_lists(self, prompt: str, max_tokens: int) -> str:
        """Compare along the base's answer; return its text.

        Both answer greedily. Up to the first position where they choose differently, they follow the same tokens; from
        there both continue after the base's choice.
        """
        answer, left = "", max_tokens
        while left > 0:
            first, second = (self.complete(number, prompt + answer, left, _TOP) for number in (0, 1))
            if first.usage.input_tokens != second.usage.input_tokens:
                raise _other_vocabulary(self.models)
            self.same_answers += not answer and first.text == second.text
            taken = 0
            for token, other in zip(first.logprobs, second.logprobs, strict=False):
                self.add(dict(token.top), dict(other.top))
                taken += 1
                if token.token != other.token or token.token == _PART:
                    break
            if not taken or taken == len(first.logprobs):
                return answer + first.text
            step = "".join(item.token for item in first.logprobs[:taken])
            answer, left = answer + step, left - taken
        return answer

    def compare_scored(self, prompt: str, max_tokens: int) -> None:
        """Compare the tokens of the base's answer alone."""
        answer, other_answer = (self.complete(number, prompt, max_tokens, None).text for number in (0, 1))
        self.same_answers += answer == other_answer
        if answer:
            first, second = self.score(prompt, answer)
            self.add_perplexity([first, second])
            for token, other in zip(first.tokens, second.tokens, strict=True):
                self.add({"": token.logprob}, {"": other.logprob})
            # The likeliest of one listed token is always the same: count what the variant says instead.
            self.same += sum(token.is_likeliest is True for token in second.tokens) - len(second.tokens)

    def score(self, prompt: str, answer: str) -> list[ContinuationScore]:
        # The prompt too is scored, so that its tokens are compared one by one.
        scores = [model.score(prompt, [answer, prompt]) for model in self.models]
        ids = [[(token.id, token.text) for score in both for token in score.tokens] for both in scores]
        if ids[0] != ids[1]:
            raise _other_vocabulary(self.models)
        return [both[0] for both in scores]

    def add_perplexity(self, scores: Sequence[ContinuationScore]) -> None:
        """Add the scores of an answer by each model."""
        for number, score in enumerate(scores):
            self.sums[number] += score.logprob
        self.scored += scores[0].token_count

    def complete(self, number: int, text: str, max_tokens: int, top: int | None) -> Reply:
        listed: dict[str, Any] = {} if top is None else {"logprobs": top}
        reply = self.models[number].complete(text, temperature=0, max_tokens=max_tokens, **listed)
        self.spent[number][0] += reply.usage.output_tokens or 0
        self.spent[number][1] += reply.seconds
        return reply

    def add(self, base: dict[str, float], variant: dict[str, float]) -> None:
        """Add a position, by the log-probabilities of the likeliest tokens there."""
        shared = (base.keys() & variant.keys()) - {_PART}
        known = math.fsum(math.exp(base[token]) for token in shared)
        other = math.fsum(math.exp(variant[token]) for token in shared)
        terms = [math.exp(base[token]) * (base[token] - variant[token]) for token in shared]
        rest, other_rest = max(0.0, 1 - known), max(1e-12, 1 - other)
        # Counting tokens as one never makes the divergence larger: the sum is a lower bound.
        terms += [rest * math.log(rest / other_rest)] if rest > 1e-12 else []
        self.divergences.append(max(0.0, math.fsum(terms)))
        self.masses.append(rest)
        likeliest = [max(top, key=lambda token: top[token], default=None) for top in (base, variant)]
        self.same += likeliest[0] == likeliest[1]


def _has_distributions(model: Model) -> bool:
    """Return whether a model's engine gives whole distributions."""
    if model.backend.name != "local":
        return False
    model.load()
    return bool(model.backend.describe()["engine"] == "transformers")


def _other_vocabulary(models: Sequence[Model]) -> InvalidRequest:
    return InvalidRequest(
        f"{models[0].reference} and {models[1].reference} make other tokens of the same text, so their distributions "
        "cannot be compared.",
        next_step="Give a variant that was made from the base.",
    )


def _count_bytes(model: Model) -> int | None:
    """Return the bytes of a local model's weight files."""
    path = model.backend.describe().get("path") if model.backend.name == "local" else None
    if not path:
        return None
    files = [Path(path)] if Path(path).is_file() else [*Path(path).glob("*.safetensors"), *Path(path).glob("*.gguf")]
    return sum(file.stat().st_size for file in files) or None
