"""A model as Hugging Face's `lighteval` takes it.

pipeline = Pipeline(tasks="gsm8k|0", model=as_model(om.Model("local:org/model")), …)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from openmodels.errors import MissingExtra, UnsupportedFeature
from openmodels.images import Image
from openmodels.integrations.evaluation import MAX_TOKENS, make_row, run_all, split_pair
from openmodels.model import Model
from openmodels.settings import install_hint
from openmodels.types.messages import user
from openmodels.types.reply import Reply
from openmodels.types.scores import ContinuationScore

if TYPE_CHECKING:
    from lighteval.models.abstract_model import LightevalModel
    from lighteval.models.model_output import ModelResponse
    from lighteval.pipeline import Pipeline
    from lighteval.tasks.prompt_manager import PromptManager
    from lighteval.tasks.requests import Doc


class _NoCache:
    """Stands for lighteval's cache, which knows a model by its name alone."""

    def _init_registry(self, registry: Any) -> None:
        pass


class _DocRunner:
    """Runs lighteval's documents on a model; `as_model` says what the arguments mean."""

    def __init__(
        self, model: Model, prompts: PromptManager, *, chat: bool, prefix: str | None, options: dict[str, Any]
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.chat = chat
        self.prefix = prefix
        self.options = options

    def answer(self, doc: Doc) -> dict[str, Any]:
        """Return the answers and, for `as_rows`, the reply."""
        if doc.use_logits or doc.generation_grammar is not None:
            raise UnsupportedFeature("The adapter to lighteval gives no logits and takes no grammar.")
        options = {"temperature": 0.0, "max_tokens": doc.generation_size or MAX_TOKENS, **self.options}
        if doc.stop_sequences:
            options["stop"] = list(doc.stop_sequences)
        if doc.num_samples > 1:
            options["n"] = doc.num_samples
        reply = (self.model.chat if self.chat else self.model.complete)(self._make_prompt(doc), **options)
        answers = (reply, *reply.alternatives)
        texts, reasonings = [each.text for each in answers], [each.reasoning for each in answers]
        return {"input": doc.query, "text": texts, "reasonings": reasonings, "reply": reply}

    def choose(self, doc: Doc) -> dict[str, Any]:
        """Return the log-probabilities of the choices."""
        scores = self._score(self._make_prompt(doc), doc.choices)
        logprobs = [choice.logprob for choice in scores]
        if doc.unconditioned_query is not None:
            # lighteval reads these behind the others.
            logprobs += [choice.logprob for choice in self._score(doc.unconditioned_query, doc.choices)]
        return {
            "input": doc.query,
            "logprobs": logprobs,
            "argmax_logits_eq_gold": [bool(choice.is_greedy) for choice in scores],
            "output_tokens": [[token.id or 0 for token in choice.tokens] for choice in scores],
        }

    def read(self, doc: Doc) -> dict[str, Any]:
        """Return the log-probabilities of a text's tokens."""
        (text,) = self._score("", [doc.query])
        logprobs = [token.logprob for token in text.tokens]
        return {"input": doc.query, "logprobs": logprobs, "argmax_logits_eq_gold": [bool(text.is_greedy)]}

    def _make_prompt(self, doc: Doc) -> Any:
        if not self.chat:
            if doc.images:
                raise UnsupportedFeature("Images go with chat=True.")
            return self.prompts.prepare_prompt(doc)
        messages: list[Any] = self.prompts.prepare_prompt_api(doc)
        if doc.images:
            messages[-1] = user(messages[-1]["content"], *map(Image, doc.images))
        return messages

    def _score(self, prompt: Any, choices: list[str]) -> list[ContinuationScore]:
        if not isinstance(prompt, str):
            return self.model.score(prompt, choices)
        pairs = [split_pair(prompt, choice, self.prefix) for choice in choices]
        return self.model.score(pairs[0][0], [continuation for _, continuation in pairs])


def as_model(
    model: Model, *, chat: bool = True, prefix: str | None = None, system_prompt: str | None = None, **options: Any
) -> LightevalModel:
    """Return a model for the argument `model` of lighteval's `Pipeline`.

    Args:
        model: The model; it scores where tasks ask for the probabilities of choices.
        chat: Whether prompts are messages for the chat template; False continues them as texts.
        prefix: The text before a text without context, as the token that begins a text.
        system_prompt: What instructs the model.
        **options: Options of each call, as temperature (default 0) and seed; `max_tokens` counts before a task's own.

    Raises:
        MissingExtra: lighteval is not installed.
    """
    try:
        from lighteval.models.abstract_model import LightevalModel, ModelConfig
        from lighteval.models.model_output import ModelResponse
        from lighteval.tasks.prompt_manager import PromptManager
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"The adapter to lighteval needs the package {error.name!r}, which is not installed.",
            next_step=f"Run: {install_hint('lighteval')}",
        ) from error
    prompts = PromptManager(system_prompt=system_prompt)
    runner = _DocRunner(model, prompts, chat=chat, prefix=prefix, options=options)

    def run(call: Callable[[Doc], dict[str, Any]], docs: list[Doc]) -> list[ModelResponse]:
        responses = []
        for fields in run_all(call, docs):
            reply = fields.pop("reply", None)
            response = ModelResponse(**fields)
            response.reply = reply
            responses.append(response)
        return responses

    class OpenModelsLightevalModel(LightevalModel):  # type: ignore[misc]
        config = ModelConfig(model_name=model.reference, system_prompt=system_prompt)
        _cache = _NoCache()
        add_special_tokens = False
        max_length = model.capabilities.context or 0

        @property
        def tokenizer(self) -> Any:
            raise UnsupportedFeature("The adapter to lighteval has no tokenizer.")

        def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
            return run(runner.answer, docs)

        def loglikelihood(self, docs: list[Doc]) -> list[ModelResponse]:
            return run(runner.choose, docs)

        def loglikelihood_rolling(self, docs: list[Doc]) -> list[ModelResponse]:
            return run(runner.read, docs)

    return OpenModelsLightevalModel()


def as_rows(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return the samples of a pipeline that has evaluated as rows of a comparison.

    A row has the keys of `Comparison.rows`, and its prompt, reference and tags as `Comparison.save` writes them; the
    tag is the name of the task. Only measures with a number for each sample are kept.
    """
    rows: list[dict[str, Any]] = []
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
