"""A model as the UK AI Security Institute's Inspect (`inspect-ai`) takes it.

inspect_ai.eval("task.py", model=as_model(om.Model("local:org/model")))

Inspect finds the provider `openmodels` by itself: `inspect eval task.py --model openmodels/local:org/model`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openmodels.errors import MissingExtra, OutputInvalid, UnsupportedFeature
from openmodels.integrations.evaluation import make_row
from openmodels.model import Model
from openmodels.openai_wire import replies
from openmodels.openai_wire.bodies import ChatBody
from openmodels.settings import install_hint
from openmodels.types.reply import Usage

if TYPE_CHECKING:
    import inspect_ai.model as inspect
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.tool import ToolChoice, ToolInfo

_OPTIONS = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop_seqs": "stop",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "num_choices": "n",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "extra_body": "extra",
}
"""Fields of Inspect's configuration that have a field of a chat's body."""
_OWN = frozenset(
    {
        *("adaptive_connections", "attempt_timeout", "cache", "max_connections", "max_retries", "max_tool_output"),
        *("reasoning_history", "system_message", "timeout"),
    }
)
"""Fields that Inspect itself acts on."""


@cache
def _register() -> type[inspect.ModelAPI]:
    """Register the provider `openmodels` with Inspect, and return it.

    Raises:
        MissingExtra: Inspect is not installed.
    """
    try:
        import inspect_ai.model as inspect
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"The adapter to Inspect needs the package {error.name!r}, which is not installed.",
            next_step=f"Run: {install_hint('inspect-ai')}",
        ) from error

    class OpenModelsAPI(inspect.ModelAPI):  # type: ignore[misc]
        def __init__(
            self,
            model_name: str,
            base_url: str | None = None,
            api_key: str | None = None,
            config: inspect.GenerateConfig = inspect.GenerateConfig(),  # noqa: B008 - as in Inspect's own
            *,
            opened: Model | None = None,
            **model_args: Any,
        ) -> None:
            super().__init__(model_name, base_url, api_key, [], config)
            places = {"base_url": base_url, "api_key": api_key}
            model_args |= {name: value for name, value in places.items() if value is not None}
            self._is_own = opened is None
            self._model = opened or Model(model_name, **model_args)

        async def generate(
            self,
            input: list[inspect.ChatMessage],  # noqa: A002 - Inspect passes it by this name
            tools: list[ToolInfo],
            tool_choice: ToolChoice,
            config: inspect.GenerateConfig,
        ) -> inspect.ModelOutput:
            functions = [{"type": "function", "function": tool.model_dump(exclude_none=True)} for tool in tools]
            choice = {"tool_choice": _read_choice(tool_choice)} if tools else {}
            messages = await inspect.messages_to_openai(input)
            body = ChatBody.read({"messages": messages, "tools": functions, **choice, **_read_config(config)})
            try:
                reply = await self._model.achat(body.messages, **body.options())
            except OutputInvalid as error:
                reply = error.reply  # an evaluation scores what a model answers
            head = {"id": uuid4().hex, "object": "chat.completion", "created": int(time.time())}
            completion = replies.encode_chat(reply, {**head, "model": self.model_name})
            output = await inspect.model_output_from_openai(completion)
            output.metadata = {"cost": reply.cost}
            return output

        def close(self) -> None:
            if self._is_own:
                self._model.close()

    provider: type[inspect.ModelAPI] = inspect.modelapi("openmodels")(OpenModelsAPI)
    return provider


if not TYPE_CHECKING:  # a declared __getattr__ would make every misspelled name pass

    def __getattr__(name: str) -> Any:
        if name == "OpenModelsAPI":  # what the entry point names
            return _register()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def as_model(model: Model) -> inspect.Model:
    """Return a model as Inspect's `Model`; the caller closes it.

    Raises:
        MissingExtra: Inspect is not installed.
    """
    provider = _register()
    import inspect_ai.model as inspect

    config = inspect.GenerateConfig()
    return inspect.Model(provider(model.reference, config=config, opened=model), config)


def as_rows(logs: EvalLog | Iterable[EvalLog]) -> list[dict[str, Any]]:
    """Return the samples of Inspect's logs as rows of a comparison.

    A row has the keys of `Comparison.rows`, and its prompt, reference and tags as `Comparison.save` writes them; the
    tag is the name of the task. Logs of the same tasks have the same indexes, so that models are compared.
    """
    rows = []
    places: dict[tuple[str, Any], int] = {}
    listed: Any = [logs] if hasattr(logs, "samples") else logs
    for log in listed:
        for sample in log.samples or ():
            index = places.setdefault((log.eval.task, sample.id), len(places))
            rows.append(_read_sample(sample, index, log.eval.model.removeprefix("openmodels/"), log.eval.task))
    return rows


def _read_config(config: inspect.GenerateConfig) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, value in config.model_dump(exclude_none=True).items():
        if name in _OPTIONS:
            body[_OPTIONS[name]] = value
        elif name == "response_schema":
            schema = config.response_schema.json_schema.model_dump(exclude_none=True)
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        elif name not in _OWN and value not in (False, "auto", [], {}):
            raise UnsupportedFeature(
                f"The adapter to Inspect does not know {name!r}.",
                next_step="Leave it out; what a server of its own takes goes into extra_body.",
            )
    return body


def _read_choice(choice: ToolChoice) -> str:
    if not isinstance(choice, str):
        return str(choice.name)
    return "required" if choice == "any" else choice


def _read_sample(sample: EvalSample, index: int, model: str, task: str) -> dict[str, Any]:
    from inspect_ai.scorer import value_to_float

    to_float = value_to_float()
    scores: dict[str, float] = {}
    for scorer, score in (sample.scores or {}).items():
        values = score.value if isinstance(score.value, dict) else {"": score.value}
        for part, value in values.items():
            if value is not None and not isinstance(value, list):
                scores[f"{scorer}/{part}" if part else scorer] = to_float(value)
    costs: list[Any] = [(event.output.metadata or {}).get("cost") for event in sample.events if event.event == "model"]
    usages = list(sample.model_usage.values())
    usage = None
    if len(usages) == 1:
        # Inspect counts tokens of a prompt that were not computed again apart.
        cached = usages[0].input_tokens_cache_read or 0
        usage = Usage(input_tokens=usages[0].input_tokens + cached, output_tokens=usages[0].output_tokens)
    prompt = sample.input
    if not isinstance(prompt, str):
        prompt = [{"role": message.role, "content": message.text} for message in prompt]
    return make_row(
        model,
        index,
        text=sample.output.completion if sample.output.choices else None,
        scores=scores,
        prompt=prompt,
        reference=sample.target,
        task=task,
        repeat=sample.epoch - 1,
        finish_reason=sample.output.stop_reason if sample.output.choices else None,
        seconds=sample.output.time,
        usage=usage,
        cost=None if None in costs or not costs else sum(costs),
        error=None if sample.error is None else sample.error.message,
    )
