"""The conformance suite: what every backend promises, as one class to subclass."""

from __future__ import annotations

from openmodels.testing.answers import Answers
from openmodels.testing.control import Control
from openmodels.testing.embedding import Embedding, Reranking
from openmodels.testing.seeing import Seeing
from openmodels.testing.several import Several
from openmodels.testing.shaping import Shaping
from openmodels.testing.tooling import Tooling
from openmodels.testing.validation import Validation


class Conformance(Answers, Several, Shaping, Tooling, Seeing, Embedding, Reranking, Validation, Control):
    """What every backend promises, tested over `chat`, `stream`, `achat` and `astream`.

    Set `reference`, or override the fixture `model`. The assertions are about behaviour, never
    about a particular text. What a backend cannot do stands in `gaps` and becomes a strict xfail.

    Attributes:
        reference: The model under test, e.g. "toy:".
        model_options: Options for `Model`.
        prompt: Draws an answer of at least four words.
        unicode_prompt: Draws characters of several bytes.
        repeating_prompt: Draws an answer that repeats itself within thrice `answer_tokens`.
        answer_tokens: Length limit of the usual answer, in tokens.
        slow_prompt: What `chat` takes; draws an answer that takes much longer than `deadline`.
        slow_model_options: Options for `Model` with which it does; none where it does anyway.
        slow_options: Call options beside it.
        deadline: Seconds given to the slow answer; some of it must have arrived by then.
        overrun: Seconds by which a call may outlast its deadline.
        stops_within: Seconds within which abandoned work ends.
        samples: Whether sampling options can change the answer; False for a backend with one
            possible answer.
        embeds: Whether the model is one for embeddings, where its backend has them.
        reranks: Whether the model is one that ranks, where its backend has rankings.
        rounds_alike: Whether answers that are written at once have the texts they have alone; False where
            arithmetic of low precision depends on who shares a step.
        digits_grammar: A grammar of three digits in the backend's dialect; None is Lark's.
        gaps: Name of a test (with or without its `[parameters]`) → why the backend fails it.
    """
