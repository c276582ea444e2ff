"""One answer in the making: what the step loop keeps for a request from prompt to last token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from openmodels.backends.local import templates
from openmodels.backends.local.detokenise import Detokeniser
from openmodels.backends.local.drafting import Drafter
from openmodels.backends.local.sampling import Sampler
from openmodels.backends.stops import StopStrings
from openmodels.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from openmodels.types import ChatRequest, Delta, Usage

if TYPE_CHECKING:
    import torch

    from openmodels.backends.local.kv import Row
    from openmodels.backends.local.loader import Loaded


class Sequence:
    """A request's tokens, its cache and its way out.

    Args:
        request: What is asked.
        loaded: The model that answers.
        put: Takes the answer's deltas, on the engine's thread.

    Attributes:
        tokens: The tokens of the prompt and of the answer so far.
        cached: Tokens of the prompt whose keys and values were there already.
        row: Where the keys and values are, while it shares forward passes.
        cache: The same where it runs alone: transformers' own cache, which holds `computed` tokens.
        finished: Whether the answer is complete.

    Raises:
        ContextTooLong: The prompt leaves no room for an answer.
        OpenModelsError: What `templates.encode` raises.
    """

    def __init__(self, request: ChatRequest, loaded: Loaded, put: Callable[[Delta], None]) -> None:
        tokenizer, config = loaded.tokenizer, loaded.model.generation_config
        prompt = _prompt(request, tokenizer)
        self._room = loaded.context - len(prompt)
        if self._room < 1:
            raise ContextTooLong(
                f"The prompt has {len(prompt)} tokens and the model's context holds {loaded.context}.",
                next_step=f"Shorten it to less than {loaded.context} tokens, or use a model with a longer context.",
            )
        usual = getattr(config, "max_new_tokens", None)
        self._limit = min(self._room, request.max_tokens or usual or self._room)
        self._ends = _ends(config, tokenizer)
        self._size = len(prompt)
        self._produced = 0
        self._put = put
        self._text = Detokeniser(tokenizer, prompt if request.prompt is not None else ())
        self._stops = StopStrings(request.stop)
        size = loaded.model.config.get_text_config().vocab_size
        self.sampler = Sampler(request, config, prompt, size, loaded.device)
        self.tokens = list(prompt)
        self.cached = 0
        self.row: Row | None = None
        self.cache: Any = None
        self.computed = 0
        self.finished = False
        self.drafter = Drafter(self.tokens)

    @property
    def pending(self) -> list[int]:
        """Tokens the model has not seen: the prompt's rest, then what was accepted last."""
        return self.tokens[self.computed if self.row is None else self.row.length :]

    @property
    def begun(self) -> bool:
        """Whether the answer has begun."""
        return self._produced > 0

    @property
    def left(self) -> int:
        """How many tokens the answer may still have."""
        return self._limit - self._produced

    def take(self, scores: torch.Tensor, likeliest: int) -> None:
        """Choose the next token and accept it.

        Args:
            scores: The model's scores after `tokens`, shape (vocabulary,).
            likeliest: Where they are largest.
        """
        self.accept(likeliest if self.sampler.plain else self.sampler.pick(scores))

    def accept(self, token: int) -> None:
        """Take the next token in and give out the text that became complete."""
        self._produced += 1
        self.tokens.append(token)
        if token in self._ends:
            self._finish(self._stops.feed(self._text.flush()), "stop")
            return
        text = self._stops.feed(self._text.add(token))
        if self._stops.found is not None:
            self._finish(text, "stop")
        elif self._produced >= self._limit:
            self._finish(text + self._stops.feed(self._text.flush()), "length")
        elif text:
            self._put(Delta(text=text))

    def _finish(self, text: str, reason: str) -> None:
        # The last half character may have completed a stop string.
        if self._stops.found is None:
            text += self._stops.flush()
        else:
            reason = "stop"
        usage = Usage(input_tokens=self._size, output_tokens=self._produced, cached_tokens=self.cached)
        self.finished = True
        self._put(Delta(text=text, finish_reason=reason, usage=usage))


def _prompt(request: ChatRequest, tokenizer: Any) -> list[int]:
    if request.prompt is not None:
        tokens: list[int] = tokenizer(request.prompt)["input_ids"]
        if not tokens:
            raise InvalidRequest("prompt: the model's tokenizer makes no token of it.")
        return tokens
    variables = dict(request.extra).pop("chat_template_kwargs", {})
    if unknown := sorted(set(request.extra) - {"chat_template_kwargs"}):
        raise UnsupportedFeature(
            f"extra: the backend 'local' does not know {unknown[0]!r}.",
            next_step="It takes 'chat_template_kwargs': variables for the chat template.",
        )
    if not isinstance(variables, Mapping):
        raise UnsupportedFeature("extra: 'chat_template_kwargs' must hold a dict of variables.")
    return templates.encode(tokenizer, request.messages, variables)


def _ends(config: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer, as the model's files name them."""
    ends = getattr(config, "eos_token_id", None)
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(token for token in (*listed, tokenizer.eos_token_id) if token is not None)
