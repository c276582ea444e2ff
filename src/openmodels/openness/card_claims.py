"""What the sentences of a card say about data, code and records.

A card is text by strangers: sentences are matched by patterns, never followed, and alone they prove nothing
open. They can show that a list is not complete, or that something is withheld.
"""

from __future__ import annotations

import re
from collections.abc import Iterable


class Claim:
    """A kind of claim: sentences that match all of `says` and not `unless`."""

    def __init__(self, *says: str, unless: str = r"(?!)") -> None:
        self._says = [re.compile(pattern, re.IGNORECASE) for pattern in says]
        self._unless = re.compile(unless, re.IGNORECASE)

    def matches(self, sentence: str) -> bool:
        """Return whether a sentence makes the claim."""
        return all(pattern.search(sentence) for pattern in self._says) and not self._unless.search(sentence)

    def select(self, sentences: Iterable[str]) -> list[str]:
        """Return the sentences that make the claim."""
        return [text for text in sentences if self.matches(text)]

    def first(self, sentences: Iterable[str]) -> str:
        """Return the first sentence that makes the claim, or ""."""
        return next(filter(self.matches, sentences), "")


_DATA = r"\b(?:data(?:sets?)?|corpus|corpora|tokens|trained|training|pre-?train\w*)\b"
_TUNED_ON = (
    r"fine-?tun\w*|\bsft\b|\bdpo\b|\brlhf\b|\borpo\b|\bkto\b|preference|alignment|instruction[- ]?(?:tun|follow"
    r"|data)\w*|post-?train\w*|feedback"
)
_COMPLETE = (
    r"\b(?:full|complete|entire|whole|all)\b[^.;]{0,50}\b(?:data|corpus|sequence|mixture"
    r"|sources)\b[^.;]{0,60}\b(?:available|released|published|public|open|shared)|\b(?:available|released|published"
    r"|public|open)\b[^.;]{0,40}\b(?:full|complete|entire|whole)\b[^.;]{0,30}\b(?:data|corpus|sequence)"
)
_LATER = r"\b(?:coming soon|will be|to be released|planned|announced|not (?:yet )?(?:available|released|public))\b"
_CORPORA = re.compile(
    r"(?i)\b(?:common ?crawl|m?c4|the pile|refinedweb|fineweb(?:-edu)?|dclm|the stack|wikipedia|red ?pajama"
    r"|slim ?pajama|roots|oscar|culturax|dolma|bookcorpus\w*|openwebtext\w*|webtext|cc-?net|cc-?100|pes2o|s2orc"
    r"|starcoder ?data|proof-?pile\w*|open-?web-?math|finemath|laion-?\w*|hplt|madlad\w*|nemotron-cc|project gutenberg"
    r"|stack ?exchange|pubmed)\b"
)

TUNING_DATA = Claim(_TUNED_ON)
"""What a model was fine-tuned on."""
TUNING = Claim(_TUNED_ON, unless=r"\bpre-?train")
"""Fine-tuning, and not pre-training."""
WITHHELD_DATA = Claim(
    _DATA,
    r"\bno (?:\w+ ){0,2}(?:data(?:sets?)?|corpus|sources?)\b[^.;]{0,40}\b(?:named|linked|listed|given|released"
    r"|published|disclosed|stated)|\bnames no (?:\w+ ){0,2}data|\b(?:data|corpus|corpora|datasets?|sources?|mix\w*"
    r"|sets?)\b[^.;]{0,60}\b(?:is|are|was|were|will|be|been|has|have)?\s*\b(?:not|never|n't)\b (?:be "
    r"|been )?(?:publicly |openly )?(?:released|published|disclosed|available|shared|public|provided)|\bundisclosed\b"
    r"|\bproprietary\b|\bconfidential\b|\bin-?house\b|\bprivate (?:data|corpus|corpora|sources?)|\binternal (?:data"
    r"|corpus|corpora|sources?)|\bacquired\b|\blicen[cs]ed (?:data|content|books|from)|\bcannot (?:share|release"
    r"|disclose|publish)",
)
"""Data are not given."""
COMPLETE_DATA = Claim(_COMPLETE, unless=_LATER)
"""All data are published."""
INCOMPLETE_DATA = Claim(
    r"\bplus\b|\badditional\b|\bcurated\b|\bother (?:data|sources|corpora|datasets)|\benhanced with\b|\bas well as\b"
    r"|\bamong others?\b|\b(?:sub-?set|portion|part|sample|some) of\b|\bpartial(?:ly)?\b|\bincluding but\b"
    r"|\bto be released\b|\bwill be (?:released|published|shared|made)|\bcoming soon\b|\bannounced\b"
    r"|\bnew (?:\w+ ){0,3}(?:data)?sets?\b|\bvarious sources\b|\bmixture of\b",
    unless=_COMPLETE,
)
"""There are more data than the card shows."""
VAGUE_DATA = Claim(
    r"\b(?:publicly available|web|online|internet|diverse|various|synthetic|high-quality|filtered|licensed"
    r"|proprietary)(?: [\w-]+){0,4} (?:data|sources|documents|texts?|websites?|corpora|corpus|content)\b"
    r"|\b\d[\d.,]*\s?[TB] tokens\b"
)
"""Data are described by their kind alone."""
TRAINING_LOGS = Claim(
    r"\b(?:w&b|wandb|weights (?:&|and) biases|tensorboard|training logs?|loss curves?|training (?:curves|metrics) tab"
    r"|comet|mlflow|trainer_state)\b",
    r"\b(?:link(?:s|ed)?|public\w*|available|released?|published|are in|shows?)\b",
    unless=_LATER,
)
"""Logs of the training are public."""
CHECKPOINTS = Claim(
    r"\b(?:intermediate|every|each|all|\d{2,})\b[^.;]{0,40}\b(?:checkpoints?|steps?)\b"
    r"|\bcheckpoints?\b[^.;]{0,60}\b(?:every|each|steps?|branches|revisions?)\b",
    r"\b(?:intermediate |training |all |every )?(?:checkpoints?|revisions?|branches)\b",
    unless=_LATER,
)
"""Intermediate checkpoints are offered."""
_TRAINED_ON = Claim(
    _DATA,
    r"\b(?:pre-?)?trained\b|\b(?:pre-?)?training (?:data|corpus|corpora|sets?|mix\w*|tokens|sources)"
    r"|\btraining[- ]data|\bdata (?:sequence|mix\w*)\b|\bpre-?training\b.{0,30}\bdata\b",
)


def training_data_sentences(sentences: Iterable[str]) -> list[str]:
    """Return the sentences about what a model was (pre-)trained on."""
    return [text for text in _TRAINED_ON.select(sentences) if not TUNING.matches(text)]


def find_named_corpora(sentences: Iterable[str]) -> str:
    """Return the first sentence that names two well-known public corpora, or ""."""
    return next((text for text in sentences if len({name.lower() for name in _CORPORA.findall(text)}) >= 2), "")
