"""A model as EleutherAI's lm-evaluation-harness (`lm-eval`) takes it.

from openmodels.integrations.lm_eval import as_lm
lm_eval.simple_evaluate(model=as_lm(om.Model("local:org/model")), tasks=["arc_easy"])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, SupportsFloat

from openmodels.errors import MissingExtra, UnsupportedFeature
from openmodels.integrations.evaluation import MAX_TOKENS, make_row, run_all, split_pair
from openmodels.model import Model
from openmodels.settings import install_hint

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM


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
            next_step=f"Run: {install_hint('lm-eval')}",
        ) from error

    class OpenModelsLM(BaseLM):  # type: ignore[misc]
        def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
            pairs = [split_pair(context, continuation, prefix) for context, continuation in _arguments(requests)]
            groups = [
                (context, [text for _, text in group]) for context, group in groupby(pairs, key=lambda pair: pair[0])
            ]
            scored = run_all(lambda group: model.score(*group), groups)
            outcomes = [(score.logprob, bool(score.is_greedy)) for scores in scored for score in scores]
            for request, outcome in zip(requests, outcomes, strict=True):
                self.cache_hook.add_partial("loglikelihood", request.args, outcome)
            return outcomes

        def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
            pairs = [split_pair("", text, prefix) for (text,) in _arguments(requests)]
            return run_all(lambda pair: model.score(pair[0], [pair[1]])[0].logprob, pairs)

        def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
            return run_all(lambda pair: model.complete(pair[0], **_options(pair[1])).text, _arguments(requests))

    return OpenModelsLM()


def as_rows(results: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
    """Return the samples of `lm_eval.simple_evaluate` as rows of a comparison.

    A row has the keys of `Comparison.rows`, and its prompt, reference and tags as `Comparison.save` writes them; the
    tag is the name of the task. Only measures with a number for each sample are kept, so perplexity's are left out.

    Args:
        results: What `simple_evaluate` returned, with `log_samples`.
        model: The model's name in the rows.
    """
    rows: dict[tuple[str, Any], dict[str, Any]] = {}
    for task, samples in results["samples"].items():
        for sample in samples:
            suffix = "" if sample["filter"] == "none" else f",{sample['filter']}"
            scores = {
                f"{name}{suffix}": float(sample[name])
                for name in sample["metrics"]
                if isinstance(sample[name], SupportsFloat)
            }
            place = task, sample["doc_id"]
            if place not in rows:
                outcomes, arguments = sample["filtered_resps"], sample["arguments"]
                text = outcomes[0]
                if not isinstance(text, str) and len(outcomes) == len(arguments):
                    # A choice: the likeliest continuation is the answer.
                    text = max(zip(outcomes, arguments, strict=True), key=lambda pair: pair[0][0])[1][-1].strip()
                rows[place] = make_row(
                    model,
                    len(rows),
                    text=text if isinstance(text, str) else None,
                    scores={},
                    prompt=arguments[0][0],
                    reference=sample["target"],
                    task=task,
                )
            rows[place]["scores"] |= scores
    return list(rows.values())


def _arguments(requests: Iterable[Instance]) -> list[Any]:
    return [request.args for request in requests]


def _options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return lm-eval's arguments of a generation as call options."""
    known = dict(arguments)
    stop = known.pop("until", ())
    limits = [known.pop(name, None) for name in ("max_gen_toks", "max_new_tokens", "max_tokens")]
    options: dict[str, Any] = {"max_tokens": next((limit for limit in limits if limit), MAX_TOKENS)}
    samples = known.pop("do_sample", False)
    temperature = known.pop("temperature", None)
    options["temperature"] = (1.0 if temperature is None else temperature) if samples else 0.0
    options |= {name: known.pop(name) for name in ("top_p", "top_k", "seed") if name in known}
    if known:
        raise UnsupportedFeature(f"The adapter to lm-eval does not know the generation argument {min(known)!r}.")
    if stop:
        options["stop"] = [stop] if isinstance(stop, str) else [text for text in stop if text]
    return options
