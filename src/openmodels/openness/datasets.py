"""The data sets that a model names: what each is for, and whether it can be had."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from openmodels.hub.model_names import family, plain, same_owner, split, words
from openmodels.licenses import find
from openmodels.openness import card_claims
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Proof
from openmodels.openness.pages import DatasetEvidence, ModelEvidence

_TUNING_NAME = re.compile(
    r"(?i)instruct\w*|chat\w*|sft|dpo|rlhf|prefer\w*|feedback|\w*feedback|ultra\w*|alpaca\w*|share_?gpt\w*|oasst\w*"
    r"|convers\w*|prompts?|reward\w*|orca\w*|dolly\w*|evol\w*|math_?instruct\w*|\w*instruct|align\w*|longalign\w*"
    r"|dialog\w*|tulu\w*|smoltalk|talk|hh|pairs|function|tool\w*|reasoning|cot|traces|thought\w*"
)
_EVALUATION_NAME = re.compile(
    r"(?i)mmlu\w*|gsm8?k\w*|hellaswag|arc|truthful\w*|human_?eval\w*|mbpp\w*|bench\w*|\w*bench|evals?|glue|super_?glue"
    r"|winogrande"
)
_EVALUATION_SECTION = re.compile(r"(?i)evaluat|benchmark|results|performance")
_TUNING_TEXT = re.compile(r"(?i)\bsft\b|fine-?tun|instruct|preference|dpo|alignment|post-?train")


class DatasetUse(StrEnum):
    """What a data set is for."""

    PRETRAINING = "pretraining"
    TUNING = "tuning"
    EVALUATION = "evaluation"


class Access(StrEnum):
    """Whether a data set can be had."""

    PUBLIC = "public"
    GATED = "gated"
    MISSING = "missing"
    UNSEEN = "unseen"


@dataclass(frozen=True)
class NamedDataset:
    """A data set that a model names."""

    id: str  # its id on the Hub
    use: DatasetUse
    access: Access
    is_stated: bool  # whether a sentence of the card says that the model was trained on it
    via: Proof  # where the model names it
    page: DatasetEvidence | None  # what is known of it

    @property
    def proof(self) -> Proof:
        """Its page, or where it is named."""
        if self.page is None:
            return self.via
        seen = {"public": "public, not gated", "gated": "gated", "missing": "not found", "unseen": "not checked"}
        return self.page.proof(f"data set {self.id}: {seen[self.access]}", "exists")


def find_datasets(evidence: Evidence, model: ModelEvidence, *, is_finetune: bool) -> list[NamedDataset]:
    """Return the data sets that a model's front matter, links and sentences name."""
    mentions: dict[str, tuple[Proof, str]] = {}
    for name in model.datasets:
        mentions.setdefault(name, (model.proof(f"front matter names the data set {name}", "cardData"), ""))
    for link in model.links:
        if link.dataset and not _EVALUATION_SECTION.search(link.section):
            via = model.proof(f"the card links the data set {link.dataset}", "readme", url=link.url)
            mentions.setdefault(link.dataset, (via, link.text))
    for name in evidence.names("datasets"):
        if name not in mentions and (sentence := _find_sentence(model, name)):
            mentions[name] = (model.proof(f"the card says: {sentence[:160]}", "readme"), "")
    return [
        _describe(evidence, model, name, via, text, is_finetune=is_finetune) for name, (via, text) in mentions.items()
    ]


def judge_access(page: DatasetEvidence | None) -> Access:
    """Return whether a data set can be had.

    A gate that was not checked is passed over only where the data set exists under an open license.
    """
    if page is None or page.exists is None:
        return Access.UNSEEN
    if not page.exists:
        return Access.MISSING
    if page.gated is not None:
        return Access.GATED if page.gated else Access.PUBLIC
    return Access.PUBLIC if page.license and find(page.license).open else Access.UNSEEN


def _describe(
    evidence: Evidence, model: ModelEvidence, name: str, via: Proof, text: str, *, is_finetune: bool
) -> NamedDataset:
    page = evidence.dataset(name)
    # A set named after the model's family goes by the rest of its name in the card.
    short = re.sub(rf"^{re.escape(family(model.id))}[-_]", "", split(name)[1], flags=re.IGNORECASE)
    is_stated = any(_names(sentence, short) for sentence in card_claims.training_data_sentences(model.sentences))
    use = _find_use(model, short, text, is_stated=is_stated, is_finetune=is_finetune)
    return NamedDataset(name, use, judge_access(page), is_stated, via, page)


def _find_use(model: ModelEvidence, short: str, text: str, *, is_stated: bool, is_finetune: bool) -> DatasetUse:
    if any(_EVALUATION_NAME.fullmatch(word) for word in words(short)):
        return DatasetUse.EVALUATION
    if any(_TUNING_NAME.fullmatch(word) for word in words(short)) or _TUNING_TEXT.search(text):
        return DatasetUse.TUNING
    if is_stated:
        return DatasetUse.PRETRAINING
    if any(_names(sentence, short) for sentence in card_claims.TUNING_DATA.select(model.sentences)):
        return DatasetUse.TUNING
    return DatasetUse.TUNING if is_finetune else DatasetUse.PRETRAINING


def _find_sentence(model: ModelEvidence, name: str) -> str:
    """Return the sentence that names a data set, or "".

    The name must be of the model's owner, or long enough to be more than a word.
    """
    owner, short = split(name)
    close = same_owner(owner, model.owner)
    if len(plain(short)) < (5 if close else 8):
        return ""
    return next((text for text in card_claims.training_data_sentences(model.sentences) if _names(text, short)), "")


def _names(text: str, short: str) -> bool:
    """Return whether a sentence names a data set ("FineWeb-Edu" for fineweb-edu)."""
    name = re.sub(r"[-_](?:v?\d[\d._]*|dedup\w*|baseline.*|train)$", "", short, flags=re.IGNORECASE)
    letters = [re.escape(letter) for letter in re.sub(r"[^A-Za-z0-9]", "", name)]
    if len(letters) < 4:
        return False
    return (
        re.search(r"(?<![A-Za-z0-9])" + r"[-_ ]?".join(letters) + r"(?![A-Za-z0-9])", text, re.IGNORECASE) is not None
    )
