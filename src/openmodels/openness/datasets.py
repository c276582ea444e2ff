"""The data sets that a model names: what each is for, and whether it can be had."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from openmodels.hub.model_names import family, normalize_name, same_owner, split_repo_id, split_words
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
    training = card_claims.training_data_sentences(model.sentences)
    tuning = card_claims.TUNING_DATA.select(model.sentences)
    mentions = {
        name: (model.proof(f"front matter names the data set {name}", "cardData"), "") for name in model.datasets
    }
    for link in model.links:
        if link.dataset and not _EVALUATION_SECTION.search(link.section):
            via = model.proof(f"the card links the data set {link.dataset}", "readme", url=link.url)
            mentions.setdefault(link.dataset, (via, link.text))
    for name in evidence.names("datasets"):
        owner, short = split_repo_id(name)
        # The name of a stranger's set must be long enough to be more than a word.
        is_word = len(normalize_name(short)) < (5 if same_owner(owner, model.owner) else 8)
        if name not in mentions and not is_word and (sentence := _find_name(short, training)):
            mentions[name] = (model.sentence_proof(sentence, 160), "")
    datasets = []
    for name, (via, text) in mentions.items():
        # A set named after the model's family goes by the rest of its name in the card.
        short = re.sub(rf"(?i)^{re.escape(family(model.id))}[-_]", "", split_repo_id(name)[1])
        is_stated = bool(_find_name(short, training))
        is_tuning = bool(any(map(_TUNING_NAME.fullmatch, split_words(short))) or _TUNING_TEXT.search(text))
        if not is_stated:
            is_tuning = is_tuning or is_finetune or bool(_find_name(short, tuning))
        use = DatasetUse.TUNING if is_tuning else DatasetUse.PRETRAINING
        if any(map(_EVALUATION_NAME.fullmatch, split_words(short))):
            use = DatasetUse.EVALUATION
        page = evidence.dataset(name)
        datasets.append(NamedDataset(name, use, judge_access(page), is_stated, via, page))
    return datasets


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


def _find_name(name: str, sentences: Iterable[str]) -> str:
    """Return the first sentence with a name ("FineWeb-Edu" for fineweb-edu), or ""."""
    bare = re.sub(r"(?i)[-_](?:v?\d[\d._]*|dedup\w*|baseline.*|train)$", "", name)
    letters = re.findall(r"[A-Za-z0-9]", bare)
    if len(letters) < 4:
        return ""
    pattern = re.compile(rf"(?i)(?<![A-Za-z0-9]){'[-_ ]?'.join(letters)}(?![A-Za-z0-9])")
    return next(filter(pattern.search, sentences), "")
