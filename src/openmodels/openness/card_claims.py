"""What the sentences of a card say about data, code and records.

A card is text by strangers: sentences are matched by patterns, never followed, and alone they prove nothing
open. They can show that a list is not complete, or that something is withheld.
"""

import json
import re
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


_DATA = r"\b(?:data(?:sets?)?|corpus|corpora|tokens|trained|training|pre-?train\w*)\b"
_TUNED_ON = (
    r"fine-?tun\w*|\bsft\b|\bdpo\b|\brlhf\b|\borpo\b|\bkto\b|preference|alignment|instruction[- ]?(?:tun|follow"
    r"|data)\w*|post-?train\w*|feedback|微调|微調|ファインチューニング|파인\s?튜닝|미세\s?조정|feinabst\w*|feinjust\w*"
    r"|afinad\w*|afinaci\w*|ajuste fino|affin(?:age|é|amento|ato)\w*|messa a punto|fininnstil\w*|finjuster\w*"
)
_DATA_NOUN = (
    r"(?:data(?:sets?)?|corpus|corpora|sources?|mix(?:ture|es)?|(?:training|tuning) sets?|content|books|documents"
    r"|texts?"
    r"|transcripts|conversations|pairs|examples|instructions|articles|rest|remainder|crawls?|pages|archives?)"
)
_GIVE = r"releas\w*|publish\w*|disclos\w*|shar(?:e|ing)|provid(?:e|ing)|(?:re)?distribut\w*|open-?sourc\w*|reveal\w*"
_GIVEN = (
    r"releas\w*|publish\w*|disclos\w*|shared|public\w*|provided|available|distribut\w*|redistribut\w*|open-?sourc\w*"
    r"|revealed|opened|open"
)
_NEVER = (
    r"\b(?:not|never|cannot|neither|nor|(?:ca|wo|do|does|did|is|are|was|were|has|have)n['’]t|unable|no plans?"
    r"|unavailable"
    r"|prevents?|prevented|prohibits?|forbids?)\b"
    r"(?! (?:only|just|merely|contain|includ|gated|behind|requir|overlap|filter|de-?dup|use|need)\w*)"
)
_NONE_WITHHELD = (
    r"\bnothing\b|\b(?:no|not|none|never|without|free of|instead of|rather than|nor"
    r"|any) (?:[\w-]+ ){0,3}?(?:undisclosed|proprietary"
    r"|confidential|in-?house|private|withheld|internal|licen[cs]ed)\b|\b(?:outperform|surpass|compar|match|rival"
    r"|beat)\w*"
    r"\b[^.;]{0,60}\b(?:proprietary|private|closed)\b|\blicen[cs]ed under\b"
    r"|\b(?:evaluation|test|benchmark|user|your|personal|private) (?:data|information)\b[^.;]{0,40}\bnot\b"
)
"""What is said of others' data, of users' data, or that no data are withheld."""
_COMPLETE = (
    r"\b(?:full|complete|entire|whole|all)\b[^.;]{0,50}\b(?:data|corpus|sequence|mixture"
    r"|sources)\b[^.;]{0,60}\b(?:available|released|published|public|open|shared)|\b(?:available|released|published"
    r"|public|open)\b[^.;]{0,40}\b(?:full|complete|entire|whole)\b[^.;]{0,30}\b(?:data|corpus|sequence)"
)
_LATER = r"\b(?:coming soon|will be|to be released|planned|announced|not (?:yet )?(?:available|released|public))\b"
_CORPORA = re.compile(
    r"(?i)\b(?:common ?crawl|m?c4|the pile|refinedweb|fineweb(?:-edu)?|dclm|the stack|wikipedia|red ?pajama"
    r"|slim ?pajama|roots|oscar|culturax|dolma|bookcorpus\w*|openwebtext\w*|webtext|cc-?net|cc-?100|pes2o|s2orc"
    r"|starcoder ?data|proof-?pile\w*|open-?web-?math|finemath|laion-?\w*|hplt|madlad\w*|nemotron-cc"
    r"|project gutenberg"
    r"|stack ?exchange|pubmed)\b"
)


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


TUNING_DATA = Claim(_TUNED_ON)  # what a model was fine-tuned on
TUNING = Claim(_TUNED_ON, unless=r"\bpre-?train")  # fine-tuning, and not pre-training
TUNED = Claim(
    r"\bfine-?tuned\b|\b(?:sft|dpo|rlhf|orpo|kto|grpo)\b|\b(?:instruction|preference)[- ](?:tuned|tuning)"
    r"|\bpost-?train(?:ed|ing)\b",
    unless=r"\b(?:not|never|no|without|before|can|may|could|should|would|if|to be|easily|when|further)\b[^.;]{0,40}"
    r"(?:fine-?tun|\bsft\b|\bdpo\b|\brlhf\b|instruction|preference|post-?train)|\b(?:variants?|versions?|separate)\b",
)
"""The model was fine-tuned: not that it can be, nor that another version was."""
WITHHELD_DATA = Claim(
    rf"{_DATA}|\b{_DATA_NOUN}\b",
    rf"\bno (?:\w+ ){{0,2}}(?:data(?:sets?)?|corpus|sources?)\b[^.;]{{0,40}}\b(?:named|linked|listed|given|{_GIVEN})"
    r"|\bnames no (?:\w+ ){0,2}data"
    # "the data are not released", "we will not be able to share our training corpus"
    # but not "the data are public, the code is not yet released"
    rf"|\b{_DATA_NOUN}\b(?:(?!\b(?:{_GIVEN})\b[^.;]{{0,20}}\b(?:code|weights?|checkpoints?)\b)[^.;]){{0,60}}{_NEVER}"
    rf"[^.;]{{0,40}}\b(?:{_GIVEN})\b"
    rf"|{_NEVER}[^.;]{{0,30}}\b(?:{_GIVE})\b[^.;]{{0,50}}\b{_DATA_NOUN}\b"
    rf"|\b{_DATA_NOUN}\b[^.;]{{0,40}}\b(?:undisclosed|proprietary|confidential|in-?house|private|withheld|unreleased"
    r"|closed|secret|internal)(?=[\s.,;:)]*(?:$|[.,;:)]|\band\b|\bto\b|\bdue\b|\bbecause\b|\bfor\b))"
    rf"|\b(?:undisclosed|proprietary|confidential|in-?house|private|withheld|unreleased|acquired|internal|licen[cs]ed"
    rf"|purchased)\b(?: [\w-]+){{0,4}} {_DATA_NOUN}\b|\b{_DATA_NOUN}\b[^.;]{{0,40}}\b(?:acquired|purchased"
    rf"|licen[cs]ed) from"
    rf"|\b(?:licen[cs]ed|acquired|purchased) from\b|\bunable to (?:{_GIVE})\b",
    unless=_NONE_WITHHELD,
    others=_read_withheld(),
)
"""Data are not given."""
DATA_ON_REQUEST = Claim(
    _DATA,
    rf"\b{_DATA_NOUN}\b[^.;]{{0,60}}\b(?:up)?on (?:\w+ )?request\b"
    rf"|\brequest access to\b[^.;]{{0,40}}\b{_DATA_NOUN}\b",
)
"""Data are given to those who ask."""
COMPLETE_DATA = Claim(_COMPLETE, unless=_LATER)  # all data are published
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
OWN_PAPER = Claim(
    r"\b(?:our|its|this model['’]s|accompanying) (?:[\w-]+ ){0,3}(?:paper|report|pre-?print|publication|arxiv)\b"
    r"|\b(?:described|introduced|presented|detailed|proposed|released|details|more information)\b[^.;]{0,60}"
    r"\b(?:paper|(?:tech(?:nical)? )?report|pre-?print)\b|\b(?:paper|report|pre-?print)\b[^.;]{0,40}"
    r"\b(?:describes|introduces|presents) (?:this|the) model\b",
    unless=r"\b(?:method|approach|technique|algorithm|recipe|architecture|loss|attention|optimi[sz]er|adapter|lora"
    r"|dataset|benchmark)s?\b[^.;]{0,60}\b(?:paper|report)\b|\bas in\b|\bproposed by\b|\bpaper of\b",
)
"""A paper is the model's own: "our paper", "described in the technical report"."""
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
_NOTHING = Claim(r"(?!)")
_CONTINUED = re.compile(
    rf"(?i)\b(?:{_DATA_NOUN}|pages|crawl\w*|tokens)\b|^(?:the (?:rest|remainder|remaining|other)|in addition"
    rf"|additionally"
    r"|also|moreover|we also|it also|this|these|they|another|further|plus|besides|half|some|most|about \d)\b"
)
_OTHER_TOPIC = re.compile(
    r"(?i)\blicen[cs]ed? (?:under|tag|terms)|\bevaluat|\bbenchmark|\bcheckpoint|\bweights?\b|\bcode (?:is|are|was)\b"
    r"|\brepositor|\binfer"
)


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
