"""What the sentences of a card say about data, code and records.

A card is text by strangers: sentences are matched by patterns, never followed, and alone they prove nothing
open. They can show that a list is not complete, or that something is withheld.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_DATA = re.compile(r"(?i)\b(?:data(?:sets?)?|corpus|corpora|tokens|trained|training|pre-?train\w*)\b")
_TRAINED_ON = re.compile(
    r"(?i)\b(?:pre-?)?trained\b|\b(?:pre-?)?training (?:data|corpus|corpora|sets?|mix\w*|tokens|sources)"
    r"|\btraining[- ]data|\bdata (?:sequence|mix\w*)\b|\bpre-?training\b.{0,30}\bdata\b"
)
_TUNED_ON = re.compile(
    r"(?i)fine-?tun\w*|\bsft\b|\bdpo\b|\brlhf\b|\borpo\b|\bkto\b|preference|alignment|instruction[- ]?(?:tun|follow"
    r"|data)\w*|post-?train\w*|feedback"
)
_WITHHELD = re.compile(
    r"(?i)\bno (?:\w+ ){0,2}(?:data(?:sets?)?|corpus|sources?)\b[^.;]{0,40}\b(?:named|linked|listed|given|released"
    r"|published|disclosed|stated)|\bnames no (?:\w+ ){0,2}data|\b(?:data|corpus|corpora|datasets?|sources?|mix\w*"
    r"|sets?)\b[^.;]{0,60}\b(?:is|are|was|were|will|be|been|has|have)?\s*\b(?:not|never|n't)\b (?:be "
    r"|been )?(?:publicly |openly )?(?:released|published|disclosed|available|shared|public|provided)|\bundisclosed\b"
    r"|\bproprietary\b|\bconfidential\b|\bin-?house\b|\bprivate (?:data|corpus|corpora|sources?)|\binternal (?:data"
    r"|corpus|corpora|sources?)|\bacquired\b|\blicen[cs]ed (?:data|content|books|from)|\bcannot (?:share|release"
    r"|disclose|publish)"
)
_INCOMPLETE = re.compile(
    r"(?i)\bplus\b|\badditional\b|\bcurated\b|\bother (?:data|sources|corpora|datasets)|\benhanced with\b"
    r"|\bas well as\b|\bamong others?\b|\b(?:sub-?set|portion|part|sample|some) of\b|\bpartial(?:ly)?\b"
    r"|\bincluding but\b|\bto be released\b|\bwill be (?:released|published|shared|made)|\bcoming soon\b|\bannounced\b"
    r"|\bnew (?:\w+ ){0,3}(?:data)?sets?\b|\bvarious sources\b|\bmixture of\b"
)
_COMPLETE = re.compile(
    r"(?i)\b(?:full|complete|entire|whole|all)\b[^.;]{0,50}\b(?:data|corpus|sequence|mixture"
    r"|sources)\b[^.;]{0,60}\b(?:available|released|published|public|open|shared)|\b(?:available|released|published"
    r"|public|open)\b[^.;]{0,40}\b(?:full|complete|entire|whole)\b[^.;]{0,30}\b(?:data|corpus|sequence)"
)
_CORPORA = re.compile(
    r"(?i)\b(?:common ?crawl|m?c4|the pile|refinedweb|fineweb(?:-edu)?|dclm|the stack|wikipedia|red ?pajama"
    r"|slim ?pajama|roots|oscar|culturax|dolma|bookcorpus\w*|openwebtext\w*|webtext|cc-?net|cc-?100|pes2o|s2orc"
    r"|starcoder ?data|proof-?pile\w*|open-?web-?math|finemath|laion-?\w*|hplt|madlad\w*|nemotron-cc|project gutenberg"
    r"|stack ?exchange|pubmed)\b"
)
_VAGUE = re.compile(
    r"(?i)\b(?:publicly available|web|online|internet|diverse|various|synthetic|high-quality|filtered|licensed"
    r"|proprietary)(?: [\w-]+){0,4} (?:data|sources|documents|texts?|websites?|corpora|corpus|content)\b"
    r"|\b\d[\d.,]*\s?[TB] tokens\b"
)
_LOGS = re.compile(
    r"(?i)\b(?:w&b|wandb|weights (?:&|and) biases|tensorboard|training logs?|loss curves?|training (?:curves"
    r"|metrics) tab|comet|mlflow|trainer_state)\b"
)
_PUBLIC = re.compile(r"(?i)\b(?:link(?:s|ed)?|public\w*|available|released?|published|are in|shows?)\b")
_LATER = re.compile(
    r"(?i)\b(?:coming soon|will be|to be released|planned|announced|not (?:yet )?(?:available|released|public))\b"
)
_CHECKPOINTS = re.compile(r"(?i)\b(?:intermediate |training |all |every )?(?:checkpoints?|revisions?|branches)\b")
_MANY = re.compile(
    r"(?i)\b(?:intermediate|every|each|all|\d{2,})\b[^.;]{0,40}\b(?:checkpoints?|steps?)\b"
    r"|\bcheckpoints?\b[^.;]{0,60}\b(?:every|each|steps?|branches|revisions?)\b"
)


def training_data_sentences(sentences: Iterable[str]) -> list[str]:
    """Return the sentences about what a model was (pre-)trained on."""
    return [text for text in sentences if _DATA.search(text) and _TRAINED_ON.search(text) and not is_tuning(text)]


def tuning_data_sentences(sentences: Iterable[str]) -> list[str]:
    """Return the sentences about what a model was fine-tuned on."""
    return [text for text in sentences if _TUNED_ON.search(text)]


def find_withheld_data(sentences: Iterable[str]) -> str:
    """Return the first sentence that says data are not given, or ""."""
    return next((text for text in sentences if _DATA.search(text) and _WITHHELD.search(text)), "")


def find_incomplete_data(sentences: Iterable[str]) -> str:
    """Return the first sentence that names more data than it shows, or ""."""
    return next((text for text in sentences if _INCOMPLETE.search(text) and not _COMPLETE.search(text)), "")


def find_complete_data(sentences: Iterable[str]) -> str:
    """Return the first sentence that says all data are published, or ""."""
    return next((text for text in sentences if _COMPLETE.search(text) and not _LATER.search(text)), "")


def find_named_corpora(sentences: Iterable[str]) -> str:
    """Return the first sentence that names two well-known public corpora, or ""."""
    return next((text for text in sentences if len({name.lower() for name in _CORPORA.findall(text)}) >= 2), "")


def find_vague_description(sentences: Iterable[str]) -> str:
    """Return the first sentence that describes data by their kind alone, or ""."""
    return next((text for text in sentences if _VAGUE.search(text)), "")


def find_training_logs(sentences: Iterable[str]) -> str:
    """Return the first sentence that points to public logs of the training, or ""."""
    return next(
        (text for text in sentences if _LOGS.search(text) and _PUBLIC.search(text) and not _LATER.search(text)), ""
    )


def find_checkpoints(sentences: Iterable[str]) -> str:
    """Return the first sentence that offers intermediate checkpoints, or ""."""
    return next(
        (text for text in sentences if _MANY.search(text) and _CHECKPOINTS.search(text) and not _LATER.search(text)), ""
    )


def is_tuning(text: str) -> bool:
    """Return whether a sentence is about fine-tuning and not about pre-training."""
    return _TUNED_ON.search(text) is not None and not re.search(r"\bpre-?train", text, re.IGNORECASE)
