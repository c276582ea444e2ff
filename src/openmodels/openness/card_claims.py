"""What the sentences of a card say about data, code and records.

A card is text by strangers: sentences are matched by patterns, never followed, and alone they prove nothing
open. They can show that a list is not complete, or that something is withheld.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.resources import files


class Claim:
    """A kind of claim: sentences that match all of `says` and not `unless`.

    A sentence that makes one of the claims `others` makes this one, too.
    """

    def __init__(self, *says: str, unless: str = r"(?!)", others: "Iterable[Claim]" = ()) -> None:
        self._says = [re.compile(pattern, re.IGNORECASE) for pattern in says]
        self._unless = re.compile(unless, re.IGNORECASE)
        self._others = tuple(others)

    def matches(self, sentence: str) -> bool:
        """Return whether a sentence makes the claim."""
        if all(pattern.search(sentence) for pattern in self._says) and not self._unless.search(sentence):
            return True
        return any(claim.matches(sentence) for claim in self._others)

    def select(self, sentences: Iterable[str]) -> list[str]:
        """Return the sentences that make the claim."""
        return [text for text in sentences if self.matches(text)]

    def first(self, sentences: Iterable[str]) -> str:
        """Return the first sentence that makes the claim, or ""."""
        return next(filter(self.matches, sentences), "")


_ENGLISH = tomllib.loads((files("openmodels.openness") / "data" / "claims.toml").read_text(encoding="utf-8"))
_AND = r"\s?(?:[、,/]|和|与|與|及|以及|と|や|および|와|과|및|\b(?:und|sowie|et|y|e|ed|og)\b)\s?"


def _read_withheld() -> Iterator[Claim]:
    """Yield how each language but English says that data are not given."""
    table = json.loads((files("openmodels.openness") / "data" / "withheld.json").read_text(encoding="utf-8"))
    for row in table["languages"]:
        not_given, secret = row["not_given"], row["secret"]
        data = rf"(?:{row['data']})(?:{_AND}(?:\w+\s)?(?:{row['others']}))*"
        # What is said of the code beside the data says nothing of the data.
        between, closely = (rf"(?:(?!{row['others']})[^.;。；{comma}]){{0,60}}?" for comma in ("", ",，、"))
        yield Claim(
            rf"(?:{data}){between}(?:{not_given})|(?:{not_given}){closely}(?:{data})"
            rf"|(?:{secret})[^.;,，、。；]{{0,20}}?(?:{data})|(?:{data})[^.;,，、。；]{{0,30}}(?:{secret})",
            unless=rf"(?:{row['none']})(?:{secret})",
        )


def _join(alternatives: Iterable[str]) -> str:
    """Return the pattern of a list in the table, with the parts that it names."""
    return re.sub(r"<([A-Z_]+)>", lambda match: _join(_ENGLISH["parts"][match[1]]), "|".join(alternatives))


def _read_claim(name: str, others: Iterable[Claim] = ()) -> Claim:
    row = _ENGLISH["claims"][name]
    return Claim(*map(_join, row["says"]), unless=_join(row.get("unless", ["(?!)"])), others=others)


TUNING_DATA = _read_claim("TUNING_DATA")  # what a model was fine-tuned on
TUNING = _read_claim("TUNING")  # fine-tuning, and not pre-training
TUNED = _read_claim("TUNED")  # the model was fine-tuned: not that it can be, nor that another version was
WITHHELD_DATA = _read_claim("WITHHELD_DATA", _read_withheld())  # data are not given
DATA_ON_REQUEST = _read_claim("DATA_ON_REQUEST")  # data are given to those who ask
COMPLETE_DATA = _read_claim("COMPLETE_DATA")  # all data are published
INCOMPLETE_DATA = _read_claim("INCOMPLETE_DATA")  # there are more data than the card shows
VAGUE_DATA = _read_claim("VAGUE_DATA")  # data are described by their kind alone
TRAINING_LOGS = _read_claim("TRAINING_LOGS")  # logs of the training are public
OWN_PAPER = _read_claim("OWN_PAPER")  # a paper is the model's own: "our paper", "described in the technical report"
CHECKPOINTS = _read_claim("CHECKPOINTS")  # intermediate checkpoints are offered
_TRAINED_ON = _read_claim("TRAINED_ON")
_NOTHING = Claim(r"(?!)")
_CONTINUED = re.compile(_join(["<CONTINUED>"]), re.IGNORECASE)
_OTHER_TOPIC = re.compile(_join(["<OTHER_TOPIC>"]), re.IGNORECASE)
_CORPORA = re.compile(_join(["<CORPORA>"]), re.IGNORECASE)


def training_data_sentences(sentences: Iterable[str]) -> list[str]:
    """Return the sentences about what a model was (pre-)trained on."""
    return _select_with_following(_TRAINED_ON, sentences, unless=TUNING)


def tuning_data_sentences(sentences: Iterable[str]) -> list[str]:
    """Return the sentences about what a model was fine-tuned on."""
    return _select_with_following(TUNING_DATA, sentences, until=_TRAINED_ON)


def _select_with_following(
    claim: Claim, sentences: Iterable[str], *, unless: Claim = _NOTHING, until: Claim = _NOTHING
) -> list[str]:
    """Return the sentences that make a claim, with those that continue them.

    What the sentences right after one of them say of data belongs to it: "The rest are licensed books."
    """
    selected, goes_on = [], False
    for text in sentences:
        goes_on = (
            goes_on and bool(_CONTINUED.search(text)) and not _OTHER_TOPIC.search(text) and not until.matches(text)
        )
        goes_on = (goes_on or claim.matches(text)) and not unless.matches(text)
        if goes_on:
            selected.append(text)
    return selected


UNITS = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}  # units of counts, the largest first
_TOKENS = re.compile(
    r"(?i)(?<![\w.])(\d{1,4}(?:,\d{3})*(?:\.\d+)?)\s?(T|B|M|trillion|billion"
    r"|million)(?:n)?[\s+-]{0,2}(?:[\w-]+ ){0,2}tokens\b"
)


def claimed_tokens(sentences: Iterable[str]) -> float | None:
    """Return the largest number of tokens that sentences claim, or None for none."""
    counts = (match for text in sentences for match in _TOKENS.finditer(text))
    return max((float(match[1].replace(",", "")) * UNITS[match[2][0].upper()] for match in counts), default=None)


def find_named_corpora(sentences: Iterable[str]) -> str:
    """Return the first sentence that names two well-known public corpora, or ""."""
    return next((text for text in sentences if len({name.lower() for name in _CORPORA.findall(text)}) >= 2), "")
