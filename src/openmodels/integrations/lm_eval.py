"""A model as EleutherAI's lm-evaluation-harness (`lm-eval`) takes it.

from openmodels.integrations.lm_eval import as_lm
lm_eval.simple_evaluate(model=as_lm(om.Model("local:org/model")), tasks=["arc_easy"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from openmodels.errors import InvalidRequest, MissingExtra, UnsupportedFeature
from openmodels.model import Model

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

_CALLS = 8  # at the same time: local ones share their forward passes
_MAX_TOKENS = 256  # of generated texts whose task sets no limit, as in lm-eval's own models
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def as_lm(model: Model, *, prefix: str | None = None) -> LM:
    """Return a model as lm-eval's `LM`, with everything but chat templates.

    Args:
        model: A model that scores, for `loglikelihood`, and completes, for `generate_until`.
        prefix: The text before a text without context; lm-eval's own models take the token that begins a text, e.g.
            "<s>".

    Raises:
        MissingExtra: lm-eval is not installed.
    """
    try:
        from lm_eval.api.model import LM as BaseLM  # noqa: N811 - as a base, beside the return type
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"The adapter to lm-eval needs the package {error.name!r}, which is not installed.",
            next_step="Run: pip install 'lm-eval>=0.4.13'",
        ) from error

    class OpenModelsLM(BaseLM):  # type: ignore[misc]
        def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
            pairs = [_split_pair(context, continuation, prefix) for context, continuation in _arguments(requests)]
            groups = [
                (context, [text for _, text in group]) for context, group in groupby(pairs, key=lambda pair: pair[0])
            ]
            scored = _run_all(lambda group: model.score(*group), groups)
            outcomes = [(score.logprob, bool(score.is_greedy)) for scores in scored for score in scores]
            for request, outcome in zip(requests, outcomes, strict=True):
                self.cache_hook.add_partial("loglikelihood", request.args, outcome)
            return outcomes

        def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
            pairs = [_split_pair("", text, prefix) for (text,) in _arguments(requests)]
            return _run_all(lambda pair: model.score(pair[0], [pair[1]])[0].logprob, pairs)

        def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
            return _run_all(lambda pair: model.complete(pair[0], **_options(pair[1])).text, _arguments(requests))

    return OpenModelsLM()


def _arguments(requests: Iterable[Instance]) -> list[Any]:
    return [request.args for request in requests]


def _run_all(call: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    with ThreadPoolExecutor(_CALLS) as pool:
        futures = [pool.submit(call, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _split_pair(context: str, continuation: str, prefix: str | None) -> tuple[str, str]:
    """Return a pair with the spaces between the two in the continuation."""
    if not context and prefix is None:
        raise InvalidRequest(
            "A task scores a text without context, and a model needs something before it.",
            next_step='Say as_lm(model, prefix="…"), e.g. the text of the token that begins a text.',
        )
    start = context.rstrip()
    return (start, context[len(start) :] + continuation) if start else (prefix or context, continuation)


def _options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return lm-eval's arguments of a generation as call options."""
    known = dict(arguments)
    stop = known.pop("until", ())
    limits = [known.pop(name, None) for name in ("max_gen_toks", "max_new_tokens", "max_tokens")]
    options: dict[str, Any] = {"max_tokens": next((limit for limit in limits if limit), _MAX_TOKENS)}
    samples = known.pop("do_sample", False)
    temperature = known.pop("temperature", None)
    options["temperature"] = (1.0 if temperature is None else temperature) if samples else 0.0
    options |= {name: known.pop(name) for name in ("top_p", "top_k", "seed") if name in known}
    if known:
        raise UnsupportedFeature(f"The adapter to lm-eval does not know the generation argument {min(known)!r}.")
    if stop:
        options["stop"] = [stop] if isinstance(stop, str) else [text for text in stop if text]
    return options
