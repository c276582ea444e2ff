"""`local:`: open weights run on this machine, by one of several engines."""

import asyncio
import queue
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from openmodels import settings
from openmodels.backends.base import Backend
from openmodels.backends.local.deltas import ChoiceMerger, DeltaJoiner, split_choices
from openmodels.backends.local.engine_protocol import Engine, EngineConfig, Put, Submitted
from openmodels.backends.local.engines.selection import EngineSelection
from openmodels.backends.local.engines.torch import torch_setup
from openmodels.backends.local.engines.torch.torch_setup import garbage_collection_paused
from openmodels.backends.local.runtime import RUNTIME
from openmodels.backends.registry import BUILT_IN, missing_extra
from openmodels.background import LazyValue
from openmodels.deadline import deadline_exceeded, wait_timeout
from openmodels.errors import InvalidReference, InvalidRequest
from openmodels.output.decisions import LabelledQuestion, label_question, turn_thinking_off
from openmodels.output.tool_formats import detect
from openmodels.types.capabilities import Capabilities
from openmodels.types.decisions import DecideRequest, Decisions
from openmodels.types.embeddings import EmbedRequest
from openmodels.types.messages import Message
from openmodels.types.rankings import RerankRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

if TYPE_CHECKING:
    from openmodels.backends.local.encoders.service import EncoderService

_Mail = tuple[int, Delta | Scores | BaseException]
"""What an engine puts into a mailbox: the number of a request, and its next delta, its scores or its error."""
_PromptT = TypeVar("_PromptT", ChatRequest, ScoreRequest)
_LOADING_WAIT = 0.5  # seconds that closing a model waits for the end of its loading
_STEP_WAIT = 30.0  # seconds that closing a model waits for the end of a step
_DEADLINE_GRACE = 0.05
"""Seconds after the deadline in which an engine's own error may still come: it says better what took long."""
_NEXT_STEP = "Raise `timeout` or lower `max_tokens`; a first call also loads the model, which `load()` does ahead."


class LocalBackend(Backend):
    """Runs a model's weights on this machine.

    Args:
        rest: A Hub id ("org/model", "org/model@revision", "org/model/file.gguf"), a folder or a
            .gguf file.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16"; "auto" is what the device is fast at.
        revision: Branch, tag or commit on the Hub; the same as "@revision" in the reference.
        engine: "auto", "transformers", "openvino", "llamacpp" or "vllm"; see docs/engines.md.
        engine_command: The command `vllm` of its own environment, where it is not on PATH.
        draft: A smaller model of the same vocabulary, as "local:…", that guesses this one's next tokens; the
            texts stay the same.
        chat_template: The name of one of the model's chat templates, or a Jinja template of yours; None is the
            model's default.
        max_batch: Answers in the making at the same time; more calls wait for their turn.
        max_kv_gb: 10^9 bytes that their keys and values may take; "auto" is half of what is free
            once the weights are loaded.
        deterministic: Run one answer at a time and keep nothing between them, so that a greedy or
            seeded text never depends on what else was asked.
        system: The system message of a chat that brings none. "auto" is `settings.DEFAULT_SYSTEM` for the
            default model and none for others; None is none, and the chat template may then insert its own;
            "" is an empty one, which keeps it from that.
        repetition_stop: End an answer that has become a cycle of hundreds of tokens, with the finish reason
            "repetition". An answer with `schema`, `choices`, `pattern`, `grammar` or a demanded tool call is
            not ended so.

    Raises:
        InvalidReference: `rest` is empty.
        InvalidRequest: An argument is wrong.
        UnsupportedFeature: The engine cannot honour the device or dtype.
        MissingExtra: torch, transformers or the engine's package is not installed.
        NotConfigured: The engine's command is not there.
    """

    name: ClassVar[str] = "local"
    features: frozenset[str] = frozenset({"chat", "complete", "embed", "rerank", "score", "decide", "images"})
    options = RUNTIME.engines["transformers"].capabilities.options

    def __init__(
        self,
        rest: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: str | None = None,
        engine: str = "auto",
        engine_command: str | None = None,
        draft: str | None = None,
        chat_template: str | None = None,
        max_batch: int | Literal["auto"] = "auto",
        max_kv_gb: float | Literal["auto"] = "auto",
        deterministic: bool = False,
        system: str | None = "auto",
        repetition_stop: bool = True,
    ) -> None:
        super().__init__(rest)
        if not rest:
            raise InvalidReference(
                "'local:' does not name a model.",
                next_step=f"For the small default model write {settings.DEFAULT_MODEL!r}.",
            )
        texts: dict[str, Any] = {"device": device, "dtype": dtype, "revision": revision, "engine": engine}
        texts |= {"engine_command": engine_command, "draft": draft, "chat_template": chat_template}
        for option, value in texts.items():
            if value is not None and (not isinstance(value, str) or not value):
                raise InvalidRequest(f"{option}: expected text, not {value!r}.")
        for option, number in {"max_batch": max_batch, "max_kv_gb": max_kv_gb}.items():
            is_count = option == "max_batch"
            if number != "auto" and (isinstance(number, bool | str) or number <= 0 or (is_count and number % 1)):
                raise InvalidRequest(f"{option}: expected 'auto' or a positive number, not {number!r}.")
        if not isinstance(repetition_stop, bool):
            raise InvalidRequest(f"repetition_stop: expected True or False, not {repetition_stop!r}.")
        self._system = _system_message(rest, system)
        if missing := BUILT_IN[self.name].missing():
            raise missing_extra(self.name, "local", ModuleNotFoundError(name=missing[0]))
        if draft is not None and draft.removeprefix("local:") == draft:
            raise InvalidRequest(f"draft: expected 'local:…', not {draft!r}.")
        self._config = EngineConfig(
            rest.strip(),
            revision=revision,
            device=device,
            dtype=dtype,
            command=engine_command,
            draft=draft,
            chat_template=chat_template,
            max_batch=None if max_batch == "auto" else int(max_batch),
            max_kv_bytes=None if max_kv_gb == "auto" else int(max_kv_gb * 1e9),
            deterministic=deterministic,
            repetition_stop=repetition_stop,
        )
        self._selection = EngineSelection(engine, self._config)
        self.options = self._selection.options()
        self._lazy_engine: LazyValue[Engine] = LazyValue()
        self._lazy_encoders: LazyValue[EncoderService] = LazyValue()

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the answer's deltas.

        Closing the generator frees the engine within a step.
        """
        engine = self._lazy_engine.get(self._open, request.deadline)
        deadline = _with_grace(request.deadline)
        mailbox: queue.SimpleQueue[_Mail] = queue.SimpleQueue()
        with self._submitted(engine, request, mailbox.put) as choices:
            while choices.unfinished:
                yield self._read(choices, *_wait(mailbox, deadline))

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer's deltas; the event loop only ever waits for its mailbox."""
        engine = await self._lazy_engine.aget(self._open, request.deadline)
        deadline = _with_grace(request.deadline)
        mailbox, put = _open_mailbox()
        with self._submitted(engine, request, put) as choices:
            while choices.unfinished:
                yield self._read(choices, *await _await(mailbox, deadline))

    def _encode(self, request: EmbedRequest | RerankRequest) -> Any:
        """Return the vectors of the texts, or the ranking of the documents."""
        encoders = self._lazy_encoders.get(self._open_encoders, request.deadline)
        return replace(encoders.encode(request), model=self.rest)

    async def _aencode(self, request: EmbedRequest | RerankRequest) -> Any:
        """The asynchronous twin of `_encode`; cancelling ends the work within a step."""
        encoders = await self._lazy_encoders.aget(self._open_encoders, request.deadline)
        return replace(await encoders.aencode(request), model=self.rest)

    embed = rerank = _encode
    aembed = arerank = _aencode

    def score(self, request: ScoreRequest) -> Scores:
        """Return the log-probabilities of the continuations; see `Backend.score`."""
        (scores,) = self._score([request], request.deadline)
        return scores

    async def ascore(self, request: ScoreRequest) -> Scores:
        """The asynchronous twin of `score`.

        Nothing blocks, and cancelling ends the work within a step.
        """
        (scores,) = await self._ascore([request], request.deadline)
        return scores

    def decide(self, request: DecideRequest) -> Decisions:
        """Return the decisions by the scores of the labels; see `Backend.decide`."""
        questions, requests = self._label(request)
        # The first question alone computes the state, of which all others then find the keys and values.
        scores = self._score(requests[:1], request.deadline)
        return self._decisions(request, questions, scores + self._score(requests[1:], request.deadline))

    async def adecide(self, request: DecideRequest) -> Decisions:
        """The asynchronous twin of `decide`."""
        questions, requests = self._label(request)
        scores = await self._ascore(requests[:1], request.deadline)
        return self._decisions(request, questions, scores + await self._ascore(requests[1:], request.deadline))

    def _score(self, requests: Sequence[ScoreRequest], deadline: float | None) -> list[Scores]:
        engine = self._lazy_engine.get(self._open, deadline)
        mailbox: queue.SimpleQueue[_Mail] = queue.SimpleQueue()
        scores: dict[int, Scores] = {}
        with self._submitted_scores(engine, requests, mailbox.put):
            while len(scores) < len(requests):
                self._read_scores(scores, *_wait(mailbox, _with_grace(deadline)))
        return [scores[number] for number in range(len(requests))]

    async def _ascore(self, requests: Sequence[ScoreRequest], deadline: float | None) -> list[Scores]:
        engine = await self._lazy_engine.aget(self._open, deadline)
        mailbox, put = _open_mailbox()
        scores: dict[int, Scores] = {}
        with self._submitted_scores(engine, requests, put):
            while len(scores) < len(requests):
                self._read_scores(scores, *await _await(mailbox, _with_grace(deadline)))
        return [scores[number] for number in range(len(requests))]

    def load(self) -> None:
        """Find, download and read the weights now.

        Raises:
            LoadFailed: The files are missing, broken, unsafe or too large.
            Offline: They are not on this disk and the network is off or out of reach.
        """
        self._lazy_engine.get(self._open, None).load()

    def close(self) -> None:
        """Free the weights and end the engine's thread or server."""
        engine, encoders = self._lazy_engine.take(), self._lazy_encoders.take()
        if engine is not None:
            engine.close()
        if encoders is not None:
            # A step ends soon; reading weights does not, and is not needed any more.
            encoders.stop(timeout=_LOADING_WAIT if encoders.is_loading else _STEP_WAIT)

    def capabilities(self) -> Capabilities:
        """Return what the model can be asked for, as far as its files are on this disk.

        A base model has no chat template and does not chat; one whose template knows no tools takes none; one
        that generates text makes no vectors, and a cross-encoder only ranks.
        """
        declared = super().capabilities()
        # Reading a GGUF file's header takes a package that is imported with it.
        from openmodels.backends.local.weights.model_metadata import read_model_metadata

        if (model := read_model_metadata(self.rest, self._config.revision)) is None:
            return replace(declared, chat=None, tools=None if declared.tools else False)
        tasks = ("generate", "embed", "rerank")
        generates, embeds, reranks = (None if model.task is None else model.task == task for task in tasks)
        choice, engine = self._selection.peek(), self._engine
        known = engine.capabilities() if engine else RUNTIME.engines[choice.engine].capabilities if choice else None
        scores = generates if known is None or known.scores else False
        return replace(
            declared,
            chat=bool(model.template) and generates is not False,
            complete=generates,
            embed=embeds,
            rerank=reranks,
            score=scores,
            decide=scores,
            tools=bool(declared.tools) and "tools" in model.template and detect.find_parser(model.template) is not None,
            images=model.has_vision,
            context=model.context,
        )

    def describe(self) -> dict[str, Any]:
        """Return how the model runs; None is what is not known until it is loaded.

        "reason" says why this engine, "context" is in tokens, "system" is the system message of a chat that brings
        none. "not_honoured" names the fields of the model's own generation config that its engine does not follow.
        For transformers, "max_batch" is in answers, "alone" says why the model takes one answer at a time,
        "whole_prompt" why its prompts are computed in one pass, and "recompute" why it computes the whole sequence
        again for every token.
        """
        choice = self._selection.peek()
        engine = self._engine
        return {
            "backend": self.name,
            "model": self.rest,
            "engine": choice.engine if choice else None,
            "path": None,
            "device": None,
            "dtype": None,
            "context": None,
            "draft": self._config.draft,
            "system": self._system,
            "repetition_stop": self._config.repetition_stop,
            "reason": choice.reason if choice else "the file's header decides when the model is opened",
            **(engine.describe() if engine is not None else {}),
        }

    @contextmanager
    def _submitted(
        self, engine: Engine, request: ChatRequest, put: Callable[[_Mail], object]
    ) -> Generator[ChoiceMerger, None, None]:
        """Submit a request for each answer, whose number `put` takes; cancel them last."""
        self._selection.check(request)
        submitted: list[Submitted] = []
        try:
            for index, choice in enumerate(split_choices(self._with_system(request))):
                submitted.append(engine.submit(choice, _number_deltas(put, index, choice)))
            yield ChoiceMerger(len(submitted))
        finally:
            for handle in submitted:
                handle.cancel()

    @contextmanager
    def _submitted_scores(
        self, engine: Engine, requests: Sequence[ScoreRequest], put: Callable[[_Mail], object]
    ) -> Generator[None, None, None]:
        """Submit requests for scores, whose numbers `put` takes; cancel them last."""
        submitted: list[Submitted] = []
        try:
            for number, request in enumerate(requests):
                self._selection.check_scores(request.deadline)
                submitted.append(engine.submit(self._with_system(request), partial(_put_numbered, put, number)))
            yield
        finally:
            for handle in submitted:
                handle.cancel()

    def _read(self, choices: ChoiceMerger, index: int, item: Delta | Scores | BaseException) -> Delta:
        if isinstance(item, BaseException):
            raise item
        assert isinstance(item, Delta)  # noqa: S101 - scores are of requests for scores
        item.model = self.rest
        return choices.merge(index, item)

    def _read_scores(self, scores: dict[int, Scores], number: int, item: Delta | Scores | BaseException) -> None:
        if isinstance(item, BaseException):
            raise item
        assert isinstance(item, Scores)  # noqa: S101 - as above
        scores[number] = replace(item, model=self.rest)

    def _label(self, request: DecideRequest) -> tuple[list[LabelledQuestion], list[ScoreRequest]]:
        """Return the questions with labels, and the requests for the labels' scores."""
        questions = [label_question(request.state, question) for question in request.questions.values()]
        requests = []
        has_chat = self.capabilities().chat is not False
        for question in questions:
            fields: dict[str, Any] = {"deadline": request.deadline}
            if has_chat:
                fields |= {"messages": (Message(role="user", content=question.prompt),)}
                fields |= {"extra": turn_thinking_off(request.extra), "continuations": question.texts}
            else:
                fields |= {"prompt": f"{question.prompt}\nAnswer:", "extra": request.extra}
                fields |= {"continuations": [f" {label}" for label in question.texts]}
            requests.append(ScoreRequest(**fields))
        return questions, requests

    def _decisions(
        self, request: DecideRequest, questions: Sequence[LabelledQuestion], scores: Sequence[Scores]
    ) -> Decisions:
        decisions = {
            name: question.decide(continuation.logprob for continuation in score.continuations)
            for name, question, score in zip(request.questions, questions, scores, strict=True)
        }
        return Decisions(decisions, reduce(add, (score.usage for score in scores)), self.rest)

    def _with_system(self, request: _PromptT) -> _PromptT:
        """Add the default system message to a chat that brings none."""
        has_system = any(message.role == "system" for message in request.messages)
        if self._system is None or has_system or request.prompt is not None:
            return request
        # Not checked: a caller's system message may not be empty, and this one may.
        message = Message.model_construct(role="system", content=self._system)
        return request.model_copy(update={"messages": (message, *request.messages)})

    @property
    def _engine(self) -> Engine | None:
        return self._lazy_engine.value

    def _open(self, deadline: float | None) -> Engine:
        """Import torch, and choose and make the engine.

        It runs on a thread, since an interrupted import leaves a broken module.
        """
        with garbage_collection_paused():
            torch_setup.import_torch()
        self._selection.choose(deadline)
        self.options = self._selection.options()
        with garbage_collection_paused():
            engine = self._selection.make(deadline)
        # The engine's thread keeps the engine alive, so the engine must not keep the backend alive.
        weakref.finalize(self, engine.close, 0.0)
        return engine

    def _open_encoders(self, _: float | None) -> "EncoderService":
        with garbage_collection_paused():
            torch_setup.import_torch()
            from openmodels.backends.local.encoders.service import EncoderService

        encoders = EncoderService(self._config)
        weakref.finalize(self, encoders.stop)
        return encoders


def _system_message(rest: str, option: Any) -> str | None:
    """Return the default system message, checked, or None; see the option `system`."""
    if option is not None and not isinstance(option, str):
        raise InvalidRequest(f"system: expected text or None, not {type(option).__name__}.")
    if option != "auto":
        return option
    # In any revision: it is the model that was measured with it.
    is_default = f"local:{rest.strip().partition('@')[0]}" == settings.DEFAULT_MODEL
    return settings.DEFAULT_SYSTEM if is_default else None


def _open_mailbox() -> tuple[asyncio.Queue[_Mail], Callable[[_Mail], None]]:
    """Return a mailbox of the running event loop, and what any thread fills it with."""
    mailbox: asyncio.Queue[_Mail] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(mail: _Mail) -> None:
        loop.call_soon_threadsafe(mailbox.put_nowait, mail)

    return mailbox, put


def _wait(mailbox: queue.SimpleQueue[_Mail], deadline: float | None) -> _Mail:
    try:
        return mailbox.get(timeout=wait_timeout(deadline))
    except queue.Empty:
        raise deadline_exceeded(next_step=_NEXT_STEP) from None


async def _await(mailbox: asyncio.Queue[_Mail], deadline: float | None) -> _Mail:
    try:
        async with asyncio.timeout(wait_timeout(deadline)):
            return await mailbox.get()
    except TimeoutError:
        raise deadline_exceeded(next_step=_NEXT_STEP) from None


def _put_numbered(put: Callable[[_Mail], object], number: int, item: Delta | Scores | BaseException) -> None:
    put((number, item))


def _number_deltas(put: Callable[[_Mail], object], index: int, request: ChatRequest) -> Put:
    numbered = partial(_put_numbered, put, index)
    return numbered if request.stream else DeltaJoiner(numbered, request.deadline)


def _with_grace(deadline: float | None) -> float | None:
    return None if deadline is None else deadline + _DEADLINE_GRACE
