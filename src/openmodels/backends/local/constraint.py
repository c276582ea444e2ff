"""Constrained decoding: the tokens that may come next.

llguidance parses the answer along with the model. Schemas are written without free white space, in which small
models lose themselves.
"""

import weakref
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import llguidance
import torch
from llguidance.hf import from_tokenizer

from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.output.grammar.notation import write_grammar
from openmodels.types.request import ResponseFormat

_KEPT = 64  # compiled grammars kept for a model


class Constraint:
    """Follows one answer through its grammar, by a matcher that is used up."""

    def __init__(self, matcher: llguidance.LLMatcher) -> None:
        self._matcher = matcher

    @property
    def finished(self) -> bool:
        """Whether nothing but the end can follow."""
        return self._matcher.is_stopped()

    def mask(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, shape (vocabulary,), minus infinity for excluded tokens."""
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8) != 0
        self._check()
        allowed = allowed[: scores.numel()].to(scores.device)
        if allowed.numel() < scores.numel():
            allowed = torch.nn.functional.pad(allowed, (0, scores.numel() - allowed.numel()))
        return scores.masked_fill(~allowed, -torch.inf)

    def accept(self, token: int) -> None:
        """Go on by a token that `mask` or `forced` allowed."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> list[int]:
        """Return the tokens that must follow; each is to be accepted."""
        return self._matcher.compute_ff_tokens()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _refused(self._matcher.get_error(), "answer")


class Grammars:
    """The grammars of one model, whose steps give `size` scores."""

    def __init__(self, tokenizer: Any, size: int, eos_token_ids: Iterable[int]) -> None:
        try:
            self._tokens = from_tokenizer(tokenizer, max(size, len(tokenizer)), eos_token=sorted(eos_token_ids))
        except ValueError as error:
            raise UnsupportedFeature(
                f"The model's tokenizer cannot be used for constrained answers: {error}.",
                next_step="Leave out `schema`, `choices`, `pattern` and `grammar`, or use another model.",
            ) from error
        self._compiled = lru_cache(_KEPT)(self._compile)

    def constraint(self, output: ResponseFormat) -> Constraint:
        """Return the constraint of a new answer; see `make_constraint`."""
        return Constraint(self._compiled(output.kind, write_grammar(output, "lark", "transformers")).deep_copy())

    def _compile(self, kind: str, grammar: str) -> llguidance.LLMatcher:
        matcher = llguidance.LLMatcher(self._tokens, grammar, log_level=0)
        if matcher.is_error():
            raise _refused(matcher.get_error(), kind)
        return matcher


_of_models: weakref.WeakKeyDictionary[Any, Grammars] = weakref.WeakKeyDictionary()


def make_constraint(output: ResponseFormat, tokenizer: Any, size: int, eos_token_ids: Iterable[int]) -> Constraint:
    """Return the constraint of a new answer.

    What it needs of the tokenizer is made once.

    Raises:
        UnsupportedFeature: The tokenizer cannot be read.
        InvalidRequest: The engine cannot read the pattern, grammar or schema.
    """
    grammars = _of_models.get(tokenizer)
    if grammars is None:
        grammars = _of_models[tokenizer] = Grammars(tokenizer, size, eos_token_ids)
    return grammars.constraint(output)


def _refused(message: str, kind: str) -> InvalidRequest:
    reason = message.strip().partition("\n")[0].rstrip(".")
    return InvalidRequest(
        f"{kind}: constrained decoding cannot follow it: {reason}.",
        next_step="Write it more simply; grammars are Lark's as llguidance reads it.",
    )
