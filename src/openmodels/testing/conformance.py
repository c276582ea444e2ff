"""The conformance suite: one class to subclass for each backend."""

from __future__ import annotations

from openmodels.testing.alternatives import AlternativeTests
from openmodels.testing.embeddings import EmbeddingTests, RerankingTests
from openmodels.testing.images import ImageTests
from openmodels.testing.lifecycle import LifecycleTests
from openmodels.testing.replies import ReplyTests
from openmodels.testing.scores import ScoringTests
from openmodels.testing.structured_output import StructuredOutputTests
from openmodels.testing.tools import ToolTests
from openmodels.testing.validation import RequestValidationTests


class Conformance(
    ReplyTests,
    AlternativeTests,
    StructuredOutputTests,
    ToolTests,
    ImageTests,
    EmbeddingTests,
    RerankingTests,
    ScoringTests,
    RequestValidationTests,
    LifecycleTests,
):
    """The contract of every backend, tested over all surfaces.

    The surfaces are `chat`, `stream`, `achat` and `astream`. Set `reference`, or override the fixture
    `model`. The tests assert behaviour, never a particular text. A test that a backend cannot pass
    stands in `gaps` and becomes a strict xfail.

    Attributes:
        reference: The model under test, e.g. "toy:".
        model_options: Options for `Model`.
        prompt: A prompt whose answer has at least four words.
        unicode_prompt: A prompt whose answer has characters of several bytes.
        repeating_prompt: A prompt whose answer repeats itself within three times `answer_tokens`.
        answer_tokens: Length limit of the usual answer, in tokens.
        slow_prompt: A prompt, or messages, whose answer takes much longer than `deadline`.
        slow_model_options: Options for `Model` that make the answer slow; empty where it is slow anyway.
        slow_options: Call options sent with `slow_prompt`.
        deadline: Timeout of the slow answer in seconds; some of it must have arrived by then.
        overrun: Seconds by which a call may outlast its deadline.
        stops_within: Seconds within which abandoned work ends.
        samples: Whether sampling options can change the answer; False for a backend with one
            possible answer.
        embeds: Whether the model gives embeddings, where its backend has the feature.
        reranks: Whether the model ranks documents, where its backend has the feature.
        scores: Whether the model scores continuations, where its backend has the feature.
        decides: Whether the model decides, where its backend has the feature.
        rounds_alike: Whether concurrent calls give the texts that they give alone; False where rounding
            in low precision depends on the batch.
        digits_grammar: A grammar of three digits in the backend's dialect; None is Lark's.
        gaps: Name of a test (with or without its `[parameters]`) → why the backend fails it.
    """
