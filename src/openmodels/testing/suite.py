"""The base of the conformance suite: settings and fixtures to override."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from openmodels.errors import UnsupportedFeature
from openmodels.model import Model
from openmodels.testing.driver import SURFACES, Driver, Spy
from openmodels.types.options import OPTION_NAMES
from openmodels.types.reply import Reply


class Suite:
    """Settings and fixtures; see `Conformance`."""

    reference: ClassVar[str]
    model_options: ClassVar[Mapping[str, Any]] = {}
    prompt: ClassVar[str] = "Count from one to twenty in words, please: one, two, three"
    unicode_prompt: ClassVar[str] = "Repeat after me: 日本語 🎉 naïve 👩‍🚀 ελληνικά"
    repeating_prompt: ClassVar[str] = "Write a list of ten fruits, one per line."
    answer_tokens: ClassVar[int] = 16
    slow_model_options: ClassVar[Mapping[str, Any]] = {}
    slow_prompt: ClassVar[Any] = "Write a very long story about a lighthouse, with every detail."
    slow_options: ClassVar[Mapping[str, Any]] = {}
    deadline: ClassVar[float] = 0.5
    overrun: ClassVar[float] = 1.0
    stops_within: ClassVar[float] = 1.0
    samples: ClassVar[bool] = True
    embeds: ClassVar[bool] = True
    reranks: ClassVar[bool] = False
    scores: ClassVar[bool] = True
    decides: ClassVar[bool] = True
    rounds_alike: ClassVar[bool] = True
    digits_grammar: ClassVar[str | None] = None
    gaps: ClassVar[Mapping[str, str]] = {}
    _usual: ClassVar[dict[tuple[Any, ...], Reply]]

    def __init_subclass__(cls) -> None:
        """Reject gaps without a test, so that a renamed test does not lose its reason."""
        super().__init_subclass__()
        cls._usual = {}
        if unknown := [name for name in cls.gaps if not hasattr(cls, name.partition("[")[0])]:
            raise TypeError(f"{cls.__name__}.gaps: there is no test {unknown[0]!r}")

    @pytest.fixture(autouse=True)
    def declared_gap(self, request: pytest.FixtureRequest) -> None:
        """Turn the declared gaps into strict xfails, so that a closed gap is noticed."""
        name = request.node.name
        if reason := self.gaps.get(name) or self.gaps.get(name.partition("[")[0]):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture(autouse=True)
    def recorded(self, record_property: Callable[[str, object], None]) -> None:
        """Let `proves` write into the report of the test."""
        self._record = record_property

    def proves(self, model: Model, feature: str) -> None:
        """Record that this test, if it passes, proves a feature or option of a backend."""
        self._record("proves", f"{model.backend.name} {feature}")

    @pytest.fixture
    def model(self) -> Iterator[Model]:
        """The model under test; override it to share one that is slow to load."""
        with Model(self.reference, **self.model_options) as model:
            yield model

    @pytest.fixture
    def slow_model(self, model: Model) -> Iterator[Model]:
        """A model whose answer to `slow_prompt` takes much longer than `deadline`."""
        if not self.slow_model_options:
            yield model
            return
        with Model(self.reference, **{**self.model_options, **self.slow_model_options}) as slow:
            yield slow

    @pytest.fixture
    def pair_model(self, model: Model) -> Model:
        """A model that gives two answers to one request.

        Override it where `model` cannot.
        """
        return model

    @pytest.fixture(params=SURFACES)
    def surface(self, request: pytest.FixtureRequest) -> str:
        """The surface under test."""
        name: str = request.param
        return name

    @pytest.fixture
    def ask(self, model: Model, surface: str) -> Driver:
        """A driver of the model under test on one surface."""
        return Driver(model, surface)

    @pytest.fixture
    def spy(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> Spy:
        """A spy on the requests to the backend."""
        return Spy(model.backend, monkeypatch)

    @pytest.fixture
    def working(self, slow_model: Model, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
        """A function that returns the number of answers in progress.

        By default it counts the open generators of the backend. Override it to count in the engine or
        in the server.
        """
        return Spy(slow_model.backend, monkeypatch).working

    def calm(self, model: Model, **more: Any) -> dict[str, Any]:
        """Return the options of a short, greedy answer that the backend honours."""
        wanted = {"temperature": 0, "max_tokens": self.answer_tokens, **more}
        return {name: value for name, value in wanted.items() if self.honoured(model, name)}

    def usual(self, model: Model, prompt: str | None = None, **more: Any) -> Reply:
        """Return the reply of `chat` with `calm` options, cached for the class of tests."""
        prompt = prompt or self.prompt
        key = model.reference, prompt, *more.items()
        if key not in self._usual:
            self._usual[key] = model.chat(prompt, **self.calm(model, **more))
        return self._usual[key]

    def honoured(self, model: Model, name: str) -> bool:
        """Return whether backend and model honour an option.

        Options of the core are always honoured.
        """
        if name in ("tools", "tool_choice") and model.capabilities.tools is False:
            return False
        return name not in OPTION_NAMES or name in model.backend.options

    def refuses(self, ask: Driver, **options: Any) -> bool:
        """Return whether the backend refuses these options, after checking its error."""
        missing = [name for name in options if not self.honoured(ask.model, name)]
        if missing:
            with pytest.raises(UnsupportedFeature) as caught:
                ask(self.prompt, **options)
            assert ask.model.backend.name in str(caught.value)
            assert any(repr(name) in str(caught.value) for name in missing)
            assert caught.value.reference == ask.model.reference
        return bool(missing)
