"""A model as Hugging Face's `lighteval` takes it.

pipeline = Pipeline(tasks="gsm8k|0", model=as_model(om.Model("local:org/model")), …)
"""

from __future__ import annotations

from typing import Any

from openmodels.errors import MissingExtra, UnsupportedFeature
from openmodels.images import Image
from openmodels.integrations.common import MAX_TOKENS, make_row, run_all, split_pair
from openmodels.model import Model
from openmodels.settings import install_hint
from openmodels.types.messages import user
from openmodels.types.reply import Reply
from openmodels.types.scores import ContinuationScore

try:
    from lighteval.models.abstract_model import LightevalModel, ModelConfig
    from lighteval.models.model_output import ModelResponse
    from lighteval.pipeline import Pipeline
    from lighteval.tasks.prompt_manager import PromptManager
    from lighteval.tasks.requests import Doc
except ModuleNotFoundError as error:
    raise MissingExtra(
        f"The adapter to lighteval needs the package {error.name!r}, which is not installed.",
        next_step=f"Run: {install_hint('lighteval')}",
    ) from error


class _NoCache:
    """Stands where lighteval expects its cache, whose entries know a model by its name alone."""

    def _init_registry(self, registry: Any) -> None:
        pass


class OpenModelsLightevalModel(LightevalModel):
    """A model for `Pipeline`, made by `as_model`."""

    def __init__(
        self, model: Model, *, chat: bool, prefix: str | None, system_prompt: str | None, options: dict[str, Any]
    ) -> None:
        self.config = ModelConfig(model_name=model.reference, system_prompt=system_prompt)
        self._cache = _NoCache()
        self._model = model
        self._chat = chat
        self._prefix = prefix
        self._options = {"temperature": 0.0, **options}
        self._prompts = PromptManager(system_prompt=system_prompt)

    @property
    def tokenizer(self) -> Any:
        """Nothing: the model makes its tokens itself."""
        raise UnsupportedFeature("The adapter to lighteval has no tokenizer.")

    @property
    def add_special_tokens(self) -> bool:
        """Whether lighteval adds special tokens; it does not."""
        return False

    @property
    def max_length(self) -> int:
        """The context in tokens, where the model knows it."""
        return self._model.capabilities.context or 0

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Return answers."""

        def ask(doc: Doc) -> ModelResponse:
            options: dict[str, Any] = {"max_tokens": doc.generation_size or MAX_TOKENS, **self._options}
            if doc.stop_sequences:
                options["stop"] = list(doc.stop_sequences)
            if doc.num_samples > 1:
                options["n"] = doc.num_samples
            if doc.use_logits or doc.generation_grammar is not None:
                raise UnsupportedFeature("The adapter to lighteval gives no logits and takes no grammar.")
            prompt = self._prompt(doc)
            reply = (self._model.chat if self._chat else self._model.complete)(prompt, **options)
            response = ModelResponse(
                input=prompt if isinstance(prompt, str) else doc.query,
                text=[reply.text, *(other.text for other in reply.alternatives)],
                reasonings=[reply.reasoning, *(other.reasoning for other in reply.alternatives)],
            )
            response.reply = reply  # for `as_rows`
            return response

        return run_all(ask, docs)

    def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
        """Return the log-probabilities of the choices."""

        def score(doc: Doc) -> ModelResponse:
            prompt = self._prompt(doc)
            scores = self._score(prompt, doc.choices)
            response = ModelResponse(
                input=doc.query,
                logprobs=[choice.logprob for choice in scores],
                argmax_logits_eq_gold=[bool(choice.is_greedy) for choice in scores],
                output_tokens=[[token.id or 0 for token in choice.tokens] for choice in scores],
            )
            if doc.unconditioned_query is not None:
                bare = self._score(doc.unconditioned_query, doc.choices)
                response.unconditioned_logprobs = [choice.logprob for choice in bare]
                response.logprobs += response.unconditioned_logprobs
            return response

        return run_all(score, docs)

    def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:
        """Return the log-probabilities of the tokens of whole texts."""

        def score(doc: Doc) -> ModelResponse:
            (whole,) = self._score("", [doc.query])
            return ModelResponse(
                input=doc.query,
                logprobs=[token.logprob for token in whole.tokens],
                argmax_logits_eq_gold=[bool(whole.is_greedy)],
            )

        return run_all(score, docs)

    def _prompt(self, doc: Doc) -> Any:
        if doc.images and not self._chat:
            raise UnsupportedFeature("Images go with chat=True.")
        if not self._chat:
            return self._prompts.prepare_prompt(doc)
        messages: list[Any] = self._prompts.prepare_prompt_api(doc)
        if doc.images:
            messages[-1] = user(messages[-1]["content"], *map(Image, doc.images))
        return messages

    def _score(self, prompt: Any, choices: list[str]) -> list[ContinuationScore]:
        if not isinstance(prompt, str):
            return self._model.score(prompt, choices)
        pairs = [split_pair(prompt, choice, self._prefix) for choice in choices]
        return self._model.score(pairs[0][0], [continuation for _, continuation in pairs])


def as_model(
    model: Model, *, chat: bool = True, prefix: str | None = None, system_prompt: str | None = None, **options: Any
) -> OpenModelsLightevalModel:
    """Return a model for the argument `model` of lighteval's `Pipeline`.

    Args:
        model: The model; it scores where tasks ask for the probabilities of choices.
        chat: Whether prompts are messages for the chat template; False continues them as texts.
        prefix: The text before a text without context, as the token that begins a text.
        system_prompt: What instructs the model.
        **options: Options of each call, as temperature (default 0) and seed; `max_tokens` counts before a task's own.
    """
    return OpenModelsLightevalModel(model, chat=chat, prefix=prefix, system_prompt=system_prompt, options=options)


def as_rows(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return the samples of a pipeline that has evaluated as rows of a comparison.

    A row has the keys of `Comparison.rows`, and its prompt, reference and tags as `Comparison.save` writes them; the
    tag is the name of the task. Measures that are no number for each sample are left out.
    """
    rows = []
    for task, details in pipeline.get_details().items():
        for detail in details:
            doc, response = detail.doc, detail.model_response
            reply: Reply | None = getattr(response, "reply", None)
            text = response.text[0] if response.text else None
            if response.logprobs and len(response.logprobs) >= len(doc.choices):
                text = doc.choices[max(range(len(doc.choices)), key=response.logprobs.__getitem__)].strip()
            rows.append(
                make_row(
                    pipeline.model.config.model_name,
                    len(rows),
                    text=text,
                    scores={
                        name: float(value) for name, value in detail.metric.items() if isinstance(value, int | float)
                    },
                    prompt=doc.query,
                    reference=doc.get_golds(),
                    task=task,
                    finish_reason=None if reply is None else reply.finish_reason,
                    seconds=None if reply is None else reply.seconds,
                    usage=None if reply is None else reply.usage,
                    cost=None if reply is None else reply.cost,
                )
            )
    return rows
