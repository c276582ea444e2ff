"""What a model can do, known before a call. Data only."""

from collections.abc import Collection
from dataclasses import dataclass, fields

from openmodels import escaping


@dataclass(frozen=True, slots=True, repr=False)
class Capabilities:
    """What a model can do where it runs.

    True is: a call is accepted and the backend acts on it; how well is up to the model. False is: a call
    is refused with `UnsupportedFeature` before anything is sent. None is not known before the model is
    opened.

    Attributes:
        chat: `chat` and `stream`.
        complete: `complete`.
        embed: `embed`.
        rerank: `rerank`.
        score: `score`.
        decide: `decide`.
        images: Images in messages.
        tools: `tools=`; for a local model, whether its chat template knows them.
        schema: `schema=`.
        choices: `choices=`.
        pattern: `pattern=`.
        grammar: `grammar=`.
        logprobs: `logprobs=`.
        n: `n=`.
        seed: `seed=`.
        context: Tokens of prompt and answer together at most.
        options: Every call option that is acted on.
    """

    chat: bool | None = None
    complete: bool | None = None
    embed: bool | None = None
    rerank: bool | None = None
    score: bool | None = None
    decide: bool | None = None
    images: bool | None = None
    tools: bool | None = None
    schema: bool | None = None
    choices: bool | None = None
    pattern: bool | None = None
    grammar: bool | None = None
    logprobs: bool | None = None
    n: bool | None = None
    seed: bool | None = None
    context: int | None = None
    options: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return "\n".join(f"{name:<9} {value}" for name, value in self._rows())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{name}</th><td>{escaping.escape_html(value)}</td></tr>" for name, value in self._rows())
        return f"<table>{''.join(rows)}</table>"

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "options":
                text = ", ".join(sorted(value)) or "none"
            elif field.name == "context":
                text = "not known" if value is None else f"{value:,} tokens"
            else:
                text = {True: "yes", False: "no", None: "not known"}[value]
            rows.append((field.name, text))
        return rows


def declared_capabilities(features: Collection[str], options: Collection[str]) -> Capabilities:
    """Return the capabilities that a backend's declarations amount to."""
    *names, _context, _options = (field.name for field in fields(Capabilities))
    return Capabilities(**{name: name in {*features, *options} for name in names}, options=frozenset(options))
