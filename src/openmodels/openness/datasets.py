"""The data sets that a model names: what each is for, and whether it can be had."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from openmodels.hub.model_names import family, normalize_name, same_owner, split_repo_id, split_words
from openmodels.licenses import find
from openmodels.openness import card_claims
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import DatasetEvidence, ModelEvidence
from openmodels.openness.findings import Proof

_TUNING_NAME = re.compile(
    r"(?i)instruct\w*|chat\w*|sft|dpo|rlhf|prefer\w*|feedback|\w*feedback|ultra\w*|alpaca\w*|share_?gpt\w*|oasst\w*"
    r"|convers\w*|prompts?|reward\w*|orca\w*|dolly\w*|evol\w*|math_?instruct\w*|\w*instruct|align\w*|longalign\w*"
    r"|dialog\w*|tulu\w*|smoltalk|talk|hh|pairs|function|tool\w*|reasoning|cot|traces|thought\w*"
)
_EVALUATION_NAME = re.compile(
    r"(?i)mmlu\w*|gsm8?k\w*|hellaswag|arc|truthful\w*|human_?eval\w*|mbpp\w*|bench\w*|\w*bench|evals?|glue"
    r"|super_?glue"
    r"|winogrande"
)
_TRAINED_ON = re.compile(
    r"(?i)\b(?:pre-?|fine-?)?(?:train|tun)(?:ed|ing)?\b[^.;]{0,160}?\b(?:on|with|using|from|over)\b"
)
_TRAINING_SECTION = re.compile(
    r"(?i)\b(?:pre-?)?train(?:ing|ed)?\b.{0,30}\bdata|\bdata(?:sets?| sources)?$|^(?:pre-?)?training\b"
)
_SAMPLE_WORD = re.compile(
    r"(?i)(?:sub-?)?samples?(?:\d+[kmbt]+)?|sampled|subsets?|mini|previews?|tiny|toy|examples?|demo|debug|dummy"
    r"|excerpts?|teaser"
)
_SAMPLE_TEXT = re.compile(
    r"(?i)\bthis (?:dataset |data set |repo\w* )?(?:is|contains|holds|provides) (?:only )?(?:a |an "
    r"|the )?(?:\w+ ){0,2}"
    r"(?:sample|preview|excerpt|teaser)\b|\b(?:small|tiny|random(?:ly)?|uniform(?:ly)?)[- ](?:\w+ )?(?:sampled? "
    r"|subset |sub-?samples?\b)"
    r"|\bonly (?:a )?(?:small )?(?:part|portion|fraction) of the\b"
)
_SAMPLE_OF = re.compile(
    r"(?i)\b(?:samples?|previews?|excerpts?|subsets?) (?:of|from)\b[^.;]{0,80}\b(?:released|available|published"
    r"|public|shared)"
)
_NAMED_TOKENS = re.compile(
    r"(?i)(?:^|[^a-z0-9])(\d+(?:\.\d+)?)(?:(T)|([BM])(?:T|[-_ ]?tok(?:en)?s?)?)(?:okens)?(?![a-z0-9])"
)
MOST_EPOCHS = 16
"""More passes over the same data teach a model next to nothing (Muennighoff et al., 2023, arXiv 2305.16264)."""
_MOST_TOKENS_PER_ROW = 20_000
_EVALUATION_SECTION = re.compile(r"(?i)evaluat|benchmark|results|performance")
_EVALUATION_TEXT = re.compile(
    r"(?i)\bevaluat|\bscor(?:e|ing)|\baccuracy\b|\bbenchmark|\bachiev|\breach|\boutperform|\btested on\b"
)
_PRETRAINING_TEXT = re.compile(r"(?i)\bpre-?train|\bcontinu\w+ train|\bfrom scratch\b")
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
    EMPTIED = "emptied"
    DISABLED = "disabled"
    PRIVATE = "private"
    UNSEEN = "unseen"

    @property
    def is_gone(self) -> bool:
        """Whether no part of it can be had."""
        return self in _ACCESS_GONE


_ACCESS_GONE = {
    Access.MISSING: "does not exist",
    Access.EMPTIED: "holds no data any more, only its card",
    Access.DISABLED: "is disabled by the Hub",
    Access.PRIVATE: "is private",
}


@dataclass(frozen=True)
class NamedDataset:
    """A data set that a model names."""

    id: str  # its id on the Hub
    use: DatasetUse
    access: Access
    is_stated: bool  # whether a sentence of the card says that the model was trained on it
    via: Proof  # where the model names it
    page: DatasetEvidence | None  # what is known of it
    sample_sign: str = ""  # what says that it is a sample of the data, or ""

    @property
    def proof(self) -> Proof:
        """Its page, or where it is named."""
        if self.page is None:
            return self.via
        seen = {Access.PUBLIC: "public, not gated", Access.GATED: "gated", Access.UNSEEN: "not checked"} | _ACCESS_GONE
        return self.page.proof(f"data set {self.id}: {seen[self.access]}", "exists")

    @property
    def barrier(self) -> str:
        """Why it cannot be had freely, as the end of a sentence: "is gated"; "" for none."""
        return "is gated" if self.access is Access.GATED else _ACCESS_GONE.get(self.access, "")

    def most_tokens(self, model_id: str) -> tuple[float, str] | None:
        """Return how many tokens it holds at most and by what, or None if not known.

        A number in its name that is also in the name of `model_id` is the size of the model.
        """
        bounds = []
        for match in _NAMED_TOKENS.finditer(split_repo_id(self.id)[1]):
            unit = "T" if match[2] else match[3].upper()
            if not re.search(rf"(?i)(?<![\d.]){re.escape(match[1])}{unit}(?![a-z])", model_id):
                bounds.append((float(match[1]) * card_claims.UNITS[unit], "by its name"))
        if self.page is not None and self.page.bytes:
            # Not even compressed text holds more than a token in a byte.
            bounds.append((float(self.page.bytes), f"in {format_count(self.page.bytes)} bytes"))
        if self.page is not None and self.page.most_rows:
            rows = self.page.most_rows
            bounds.append((float(rows * _MOST_TOKENS_PER_ROW), f"in fewer than {format_count(rows)} rows"))
        return min(bounds, default=None)


def find_datasets(
    evidence: Evidence, model: ModelEvidence, *, is_finetune: bool, has_foreign_base: bool = False
) -> list[NamedDataset]:
    """Return the data sets that a model's front matter, links and sentences name."""
    training = card_claims.training_data_sentences(model.sentences)
    tuning = card_claims.TUNING_DATA.select(model.sentences)
    mentions, sections = _find_mentions(evidence, model, training)
    datasets = []
    for present_id, (name, via, text) in mentions.items():
        # A set named after the model's family goes by the rest of its name in the card.
        full_name = split_repo_id(name)[1]
        short = re.sub(rf"(?i)^{re.escape(family(model.id))}[-_]", "", full_name)
        sentence = _find_name(short, training)
        # What a card says of a stranger's model as a whole is about its own part: the tuning.
        is_own_part = has_foreign_base and not _PRETRAINING_TEXT.search(sentence)
        is_tuning = bool(any(map(_TUNING_NAME.fullmatch, split_words(short))) or _TUNING_TEXT.search(text))
        if not sentence or is_own_part:
            is_tuning = is_tuning or is_finetune or bool(_find_name(short, tuning))
        use = DatasetUse.TUNING if is_tuning else DatasetUse.PRETRAINING
        if any(map(_EVALUATION_NAME.fullmatch, split_words(short))):
            use = _use_of_benchmark(model, name, short, is_finetune=is_finetune)
        is_stated = bool(sentence or _find_name(short, tuning)) or _is_about_training(sections.get(present_id, ""))
        page = evidence.dataset(name)
        sample_sign = _find_sample_sign(full_name, page, [*training, *tuning])
        dataset_id = page.id if page is not None else name
        datasets.append(NamedDataset(dataset_id, use, judge_access(page), is_stated, via, page, sample_sign))
    return datasets


def _find_mentions(
    evidence: Evidence, model: ModelEvidence, training: list[str]
) -> tuple[dict[str, tuple[str, Proof, str]], dict[str, str]]:
    """Return how a model names its data sets, and the sections that link them.

    Both are by the present id in lower case: named by a former id too, or in other letters, it is one data set. A
    mention is the name, where it stands, and the text of the link.
    """
    mentions: dict[str, tuple[str, Proof, str]] = {}
    sections: dict[str, str] = {}

    def mention(name: str, via: Proof, text: str = "") -> None:
        mentions.setdefault(evidence.current_id("datasets", name).lower(), (name, via, text))

    for name in model.datasets:
        mention(name, model.proof(f"front matter names the data set {name}", "cardData"))
    for link in filter(lambda link: link.dataset, model.links):
        sections.setdefault(evidence.current_id("datasets", link.dataset).lower(), link.section)
        if not _is_about_evaluation(link.section):
            via = model.proof(f"the card links the data set {link.dataset}", "readme", url=link.url)
            mention(link.dataset, via, link.text)
    for name in evidence.names("datasets"):
        owner, short = split_repo_id(name)
        # The name of a stranger's set must be long enough to be more than a word.
        is_word = len(normalize_name(short)) < (5 if same_owner(owner, model.owner) else 8)
        if not is_word and (sentence := _find_name(short, training)):
            mention(name, model.sentence_proof(sentence, 160))
    return mentions, sections


def _is_about_evaluation(section: str) -> bool:
    return bool(_EVALUATION_SECTION.search(section)) and not re.search(r"(?i)\btrain", section)


def _is_about_training(section: str) -> bool:
    return bool(_TRAINING_SECTION.search(section)) and not _is_about_evaluation(section)


def _use_of_benchmark(model: ModelEvidence, name: str, short: str, *, is_finetune: bool) -> DatasetUse:
    """Return what a benchmark is for: some models are trained on one."""
    naming = [sentence for sentence in model.sentences if _find_name(short, [sentence])]
    if sentence := next(filter(_is_trained_on, naming), ""):
        is_tuning = is_finetune or card_claims.TUNING.matches(sentence)
        return DatasetUse.TUNING if is_tuning else DatasetUse.PRETRAINING
    # The front matter names what a model was trained on; the trainer of a fine-tune writes it there.
    is_evaluated = any(map(_EVALUATION_TEXT.search, naming))
    return DatasetUse.TUNING if is_finetune and name in model.datasets and not is_evaluated else DatasetUse.EVALUATION


def _is_trained_on(sentence: str) -> bool:
    return bool(_TRAINED_ON.search(sentence)) and not _EVALUATION_TEXT.search(sentence)


def _find_sample_sign(name: str, page: DatasetEvidence | None, sentences: list[str]) -> str:
    """Return what says that a set is but a sample of the data, or "".

    A model may have been trained on a sample and no more: its card then names the sample.
    """
    letters = "[-_ ]?".join(re.findall(r"[A-Za-z0-9]", name))
    stated = (text for text in sentences if re.search(rf"(?i)(?<![A-Za-z0-9]){letters}(?![A-Za-z0-9])", text))
    if any(_is_trained_on(text) and not _SAMPLE_OF.search(text) for text in stated):
        return ""
    if word := next(filter(_SAMPLE_WORD.fullmatch, split_words(name)), ""):
        return f"its name says “{word}”"
    if page is not None and (phrase := _SAMPLE_TEXT.search(page.description)):
        return f"its card says “{' '.join(phrase[0].split())}”"
    return ""


def judge_access(page: DatasetEvidence | None) -> Access:
    """Return whether a data set can be had.

    A gate that was not checked is passed over only where the data set exists under an open license.
    """
    if page is None or page.exists is None:
        return Access.UNSEEN
    if not page.exists:
        return Access.MISSING
    if page.is_disabled or page.is_private or page.is_emptied:
        return Access.DISABLED if page.is_disabled else Access.PRIVATE if page.is_private else Access.EMPTIED
    if page.gated:
        return Access.GATED
    if page.has_only_a_script:  # whether the data still lie where the program looks for them was not seen
        return Access.UNSEEN
    if page.gated is not None:
        return Access.PUBLIC
    return Access.PUBLIC if page.license and find(page.license).open else Access.UNSEEN


def find_size_gap(datasets: list[NamedDataset], sentences: list[str], model_id: str) -> str:
    """Return how the tokens claimed exceed what the data sets can hold, or "".

    A set whose size is not known may hold any number.
    """
    claimed = card_claims.claimed_tokens(sentences)
    bounds = [dataset.most_tokens(model_id) for dataset in datasets]
    known = [bound for bound in bounds if bound is not None]
    if claimed is None or not known or len(known) < len(bounds):
        return ""
    total = sum(tokens for tokens, _ in known)
    if claimed <= total * MOST_EPOCHS:
        return ""
    held = f"{format_count(total)} tokens {known[0][1]}" if len(known) == 1 else f"{format_count(total)} tokens in all"
    return f"the card claims {format_count(claimed)} tokens of training, and {_name(datasets)} can hold {held}"


def _name(datasets: list[NamedDataset]) -> str:
    return ", ".join(dataset.id for dataset in datasets[:3])


def format_count(number: float) -> str:
    """Return a number in units: "15T", "2.5B"."""
    unit = next((unit for unit, size in card_claims.UNITS.items() if number >= size), "")
    return f"{number / card_claims.UNITS.get(unit, 1):.3g}{unit}"


def _find_name(name: str, sentences: Iterable[str]) -> str:
    """Return the first sentence with a name ("FineWeb-Edu" for fineweb-edu), or ""."""
    bare = re.sub(r"(?i)[-_](?:v?\d[\d._]*|dedup\w*|baseline.*|train)$", "", name)
    letters = re.findall(r"[A-Za-z0-9]", bare)
    if len(letters) < 4:
        return ""
    pattern = re.compile(rf"(?i)(?<![A-Za-z0-9]){'[-_ ]?'.join(letters)}(?![A-Za-z0-9])")
    return next(filter(pattern.search, sentences), "")
