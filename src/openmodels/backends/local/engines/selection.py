"""A model's engine, chosen once and made on demand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmodels import settings
from openmodels.backends.local.engines.choice import NOTATIONS, OPENVINO_MODEL, OPTIONS, Choice, Wish, choose
from openmodels.errors import LoadFailed, UnsupportedFeature
from openmodels.output.grammar.request_grammar import written
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    from openmodels.backends.local.engines.openvino.engine import OpenvinoEngine
    from openmodels.backends.local.engines.server_engine import Served

Source = tuple[Path, str | None]
"""A .gguf file or a folder, and the file's SHA-256 where it is already known."""


class Selection:
    """Chooses the engine for a model and makes it.

    Args:
        rest: What stands behind "local:".
        revision: Branch, tag or commit on the Hub.
        wish: What the caller says of the engine.
        chat_template: The chat template that the caller names or gives, or None.

    Attributes:
        choice: The engine and the reason, once they are chosen.

    Raises:
        OpenModelsError: What `Wish.check` raises.
    """

    def __init__(self, rest: str, revision: str | None, wish: Wish, chat_template: str | None = None) -> None:
        wish.check()
        self._rest, self._revision, self._wish = rest.strip(), revision, wish
        self._chat_template = chat_template
        self.choice: Choice | None = None

    def options(self, usual: frozenset[str]) -> frozenset[str]:
        """Return the call options that the chosen engine honours; `usual` are those of transformers."""
        engine = self.choice.engine if self.choice else self._wish.engine
        return OPTIONS.get(engine, usual)

    def settle(self, deadline: float | None) -> Choice:
        """Choose the engine; see `choose`."""
        if self.choice is None:
            self.choice = choose(self._wish, self._rest, self._revision, deadline)
        return self.choice

    def look(self) -> Choice | None:
        """Return the choice, or None where it takes a look into a file that may not be here yet."""
        from openmodels.backends.local.weights import locate

        undecided = self._wish.engine == "auto" and locate.names_gguf(self._rest)
        return self.choice or (None if undecided else self.settle(None))

    def check(self, request: ChatRequest, options: frozenset[str]) -> None:
        """Check that the engine, which "auto" may have chosen only now, honours a request's options.

        Raises:
            UnsupportedFeature: It does not, or it cannot keep an answer to the form that is asked for.
            InvalidRequest: No answer has this form.
        """
        if missing := sorted(request.options - options):
            assert self.choice is not None  # noqa: S101 - settled before
            raise UnsupportedFeature(
                f"The engine {self.choice.engine!r} of the backend 'local' cannot honour the option {missing[0]!r}.",
                next_step="Leave it out, or choose another engine with engine=….",
            )
        if request.output is not None:
            # On the caller's thread, before any work: the engine's own then has it at hand.
            engine = self.settle(request.deadline).engine
            written(request.output, NOTATIONS[engine], engine)

    def openvino(self, *, repetition_stop: bool) -> OpenvinoEngine:
        """Return an engine on OpenVINO; it loads the model when it gets its first job."""
        from openmodels.backends.local.engines.openvino.engine import OpenvinoEngine

        # Not self: the engine's thread must not keep the backend alive.
        find, chat_template = self._find, self._chat_template

        def open_model(deadline: float | None) -> Any:
            from openmodels.backends.local.engines.openvino.model import open_model

            source, digest = find(deadline)
            return open_model(source, digest, deadline, chat_template=chat_template)

        return OpenvinoEngine(open_model, repetition_stop=repetition_stop)

    def served(self, engine: str, *, repetition_stop: bool) -> Served:
        """Return an engine behind a server of ours, which its first call starts."""
        if engine == "llamacpp":
            from openmodels.backends.local.engines.llamacpp.engine import LlamaCpp

            return LlamaCpp(self._rest, self._gguf, chat_template=self._chat_template, repetition_stop=repetition_stop)
        from openmodels.backends.local.engines.vllm.engine import Vllm

        rest, revision, dtype = self._rest, self._revision, self._wish.dtype

        def find(deadline: float | None) -> Path:
            from openmodels.backends.local.weights import locate

            return locate.locate(rest, revision=revision, deadline=deadline, dtype=dtype)

        return Vllm(
            rest,
            find,
            command=self._wish.vllm(),
            dtype=self._wish.dtype,
            chat_template=self._chat_template,
            repetition_stop=repetition_stop,
        )

    def _find(self, deadline: float | None) -> Source:
        from openmodels.backends.local.weights import locate

        if locate.is_path(self._rest) and (folder := Path(self._rest).expanduser()).is_dir():
            if not (folder / OPENVINO_MODEL).is_file():
                raise LoadFailed(
                    f"The folder {folder.name!r} is not in OpenVINO's format: it holds no openvino_model.xml.",
                    next_step="Convert it with optimum-cli export openvino, name a .gguf file, "
                    "or use engine='transformers'.",
                )
            return folder, None
        return self._gguf(deadline)

    def _gguf(self, deadline: float | None) -> Source:
        # Imported late, as above: a base install has not what they need.
        from openmodels.backends.local.weights import default_model, locate

        if locate.names_gguf(self._rest):
            return locate.source(self._rest, revision=self._revision, deadline=deadline), None
        if f"local:{self._rest}" == settings.DEFAULT_MODEL and self._revision is None:
            return default_model.gguf(deadline), default_model.SHA256
        raise LoadFailed(
            f"{self._rest!r} names no GGUF file, and that is what this engine reads.",
            next_step="Name one, e.g. 'local:org/model-GGUF/model-q4_k_m.gguf', or use engine='transformers'.",
        )
