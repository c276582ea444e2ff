"""Prompts and continuations to score, in tokens, the same for every engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openmodels.backends.local.detokenizer import TokenTexts
from openmodels.backends.local.prompt.length_check import find_overflow
from openmodels.backends.local.prompt.prepare import PromptConfig, check_extra, check_tokens, prepare_prompt
from openmodels.errors import ContextTooLong, InvalidRequest
from openmodels.types.reply import Usage
from openmodels.types.scores import ContinuationScore, ScoredToken, ScoreRequest, Scores


@dataclass(frozen=True, slots=True)
class PreparedScores:
    """A request for scores in the model's own terms.

    Attributes:
        texts: The continuations.
        prompt: The token ids of the prompt.
        continuations: Those of each continuation.
        token_texts: The texts of single tokens.
        vocabulary: The token ids by their text; None where the request does not want them.
    """

    texts: tuple[str, ...]
    prompt: list[int]
    continuations: list[list[int]]
    token_texts: TokenTexts
    vocabulary: Mapping[str, int] | None = None

    def build(
        self,
        logprobs: Sequence[Sequence[tuple[float, bool | None]]],
        cached_tokens: int | None = None,
        distributions: Mapping[int, Sequence[Any]] | None = None,
    ) -> Scores:
        """Return the scores, for (log-probability, is likeliest) of each token.

        `distributions` are by the number of the continuation.
        """
        known = distributions or {}
        scores = tuple(
            ContinuationScore(
                text,
                tuple(
                    ScoredToken(self.token_texts[token], logprob, token, is_likeliest, distribution)
                    for token, (logprob, is_likeliest), distribution in zip(
                        tokens, values, known.get(number) or [None] * len(tokens), strict=True
                    )
                ),
            )
            for number, (text, tokens, values) in enumerate(zip(self.texts, self.continuations, logprobs, strict=True))
        )
        tokens = len(self.prompt) + sum(map(len, self.continuations))
        usage = Usage(input_tokens=tokens, output_tokens=0, cached_tokens=cached_tokens)
        return Scores(scores, usage, vocabulary=self.vocabulary)


def prepare_scores(request: ScoreRequest, config: PromptConfig, *, allow_extra: bool = False) -> PreparedScores:
    """Render and tokenize a prompt and, apart from it, its continuations.

    With `allow_extra`, `extra` may hold more than variables for the chat template.

    Raises:
        ContextTooLong: The prompt, or a continuation behind it, does not fit the context.
        InvalidRequest: The tokenizer makes no token of the prompt or of a continuation.
        OpenModelsError: What `prepare_prompt` raises.
    """
    if not allow_extra:
        check_extra(request.extra)
    prompt = prepare_prompt(request.to_chat(), config.tokenizer, config.context).tokens
    check_tokens(prompt, config.vocab_size)
    if len(prompt) >= config.context:
        raise ContextTooLong(
            f"The prompt has {len(prompt)} tokens and the model's context holds {config.context}.",
            next_step=f"Shorten it to less than {config.context} tokens, or use a model with a longer context.",
        )
    for number, text in enumerate(request.continuations):
        if (overflow := find_overflow(config.tokenizer, text, config.context, request.deadline)) is not None:
            raise _too_long(number, f"more than {overflow.tokens}", len(prompt), config.context)
    # No special tokens: the first of a text, e.g. <s>, would stand in the middle of this one.
    continuations = config.tokenizer(list(request.continuations), add_special_tokens=False)["input_ids"]
    for number, tokens in enumerate(continuations):
        name = f"continuations[{number}]"
        if not tokens:
            raise InvalidRequest(f"{name}: the model's tokenizer makes no token of it.")
        check_tokens(tokens, config.vocab_size, name)
        if len(prompt) + len(tokens) > config.context:
            raise _too_long(number, len(tokens), len(prompt), config.context)
    vocabulary = config.tokenizer.get_vocab() if request.with_distributions else None
    return PreparedScores(request.continuations, prompt, continuations, TokenTexts(config.tokenizer), vocabulary)


def _too_long(number: int, tokens: int | str, prompt: int, context: int) -> ContextTooLong:
    return ContextTooLong(
        f"continuations[{number}] has {tokens} tokens behind a prompt of {prompt}, and the model's context holds "
        f"{context}.",
        next_step="Shorten it or the prompt, or use a model with a longer context.",
    )
