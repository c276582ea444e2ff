"""Which files of a repository name one model: its recipes.

A framework trains any model. Only a file that names a model shows how this very model was trained.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from openmodels.hub import model_names

# Words that many projects have in their names: alone they name none of them.
_COMMON = frozenset(
    """
    ai alpha audio baseline beta bert bot cased chinese code coder core data deep default demo dense diffusion embed
    embedding english epoch example experiment french general generic german gpt japanese korean language large llm lm
    math meta ml moe model multi multilingual my neural new nlp open oss project reasoning research ring seed speech
    stable stage step super switch t5 test text time train transformer translation uncased universal vision vit vl vlm
    voice world
    """.split()  # noqa: SIM905 - a long list of words
)
_SHORTEST = 4  # letters and digits of a name that is no accident of spelling; of a name with a digit one less
_SIZE = re.compile(r"(?<![\d.])(?:\d+x)?(\d+(?:\.\d+)?|\d[_p-]\d)([bm])(?![a-z])")
_UNIT = {"b": 1.0, "m": 1e-3}
_TOKEN = re.compile(r"\d+(?:\.\d+)?[bm](?![a-z])|\d+(?:\.\d+)?|[a-z]+")
_FRAMEWORK = re.compile(
    r"(?i)megatron|nanotron|gpt-?neox|deepspeed|llm-?foundry|lit-?gpt|axolotl|llama-?factory|fairseq|torchtitan"
    r"|\bnemo\b|\bt5x\b|maxtext|levanter|open[-_]lm\b|\blingua\b|mesh-transformer|colossal-?ai|torchtune|\btrl\b"
    r"|\bverl\b|alignment-handbook|open-instruct|modalities|flagscale|\bcomposer\b|picotron|easylm|megablocks|paxml"
    r"|lm[-_]eval|\btransformers\b|\baccelerate\b|unsloth|\bms-swift\b|xtuner|sentence-transformers|flagembedding"
)


@dataclass(frozen=True)
class ModelName:
    """The parts of a model's name by which files are recognised."""

    # The name of its family in lower-case letters and digits, without a version; "" where its name holds sizes and
    # common words alone.
    stem: str
    version: str  # the version that follows the stem, as "2" in "OLMo-2-1124-7B", or ""
    sizes: tuple[float, ...]  # its size by its name and its files, in 1e9 parameters
    words: frozenset[str]  # the tokens of its name
    is_architecture: bool  # whether the stem is the name of the architecture, which other models share

    @classmethod
    def parse(cls, repo_id: str, *, parameters: int = 0, model_type: str = "", bases: Iterable[str] = ()) -> Self:
        """Return the parts of a model's name.

        Args:
            repo_id: "owner/name".
            parameters: How many it has, or 0 where that is not known.
            model_type: Its architecture, as in its configuration.
            bases: The ids of models by other owners that it was made from: their names are not its own.
        """
        owner, name = model_names.split_repo_id(repo_id)
        shared = {model_names.normalize_name(model_type)} | {cls.parse(base).stem for base in bases}
        stem = _find_stem(
            name, model_names.split_words(owner), {model_names.strip_version(word) for word in shared if word}
        )
        sizes = _find_sizes(name) + ((parameters / 1e9,) if parameters else ())
        is_architecture = bool(stem) and stem == model_names.strip_version(model_type)
        return cls(stem, _find_version(name, stem), sizes, frozenset(_split_tokens(name)), is_architecture)

    def is_named_in(self, path: str) -> bool:
        """Return whether a path names the model or its family, and not another version.

        A short name may stand there by accident: it must be the whole name of a folder or file, or a size, a version
        or a further word must bear it out.
        """
        if not self.mentions_family(path) or self._has_other_version(path):
            return False
        if any(model_names.normalize_name(part.partition(".")[0]) == self.stem for part in path.split("/")):
            return True
        further = {token for token in set(_split_tokens(path)) & self.words if token not in self.stem}
        return len(self.stem) > _SHORTEST or bool(further) or any(map(self._is_size, _find_sizes(path)))

    def is_repository(self, name: str) -> bool:
        """Return whether the repository "owner/repo" bears the name of the family."""
        title = model_names.split_repo_id(name)[1]
        return self.mentions_family(title) and not self._has_other_version(title)

    def is_titled(self, title: str) -> bool:
        """Return whether a title names the model, and not a framework alone."""
        return self.is_named_in(_FRAMEWORK.sub(" ", title))

    def fits(self, path: str) -> bool:
        """Return whether a path speaks of no other version or size alone."""
        sizes = _find_sizes(path)
        is_other_size = bool(sizes and self.sizes) and not any(self._is_size(size) for size in sizes)
        return not (self._has_other_version(path) or (is_other_size and self.mentions_family(path)))

    def rank(self, path: str) -> float:
        """Return how closely a path names this very model: the higher, the closer."""
        file = path.rpartition("/")[2].rpartition(".")[0]
        tokens, file_tokens = set(_split_tokens(path)), set(_split_tokens(file))
        score = 3.0 * self.is_named_in(path) + 3.0 * self.is_named_in(file) + len(tokens & self.words)
        score += 4.0 * any(self._is_size(size) for size in _find_sizes(path)) - 8.0 * (not self.fits(path))
        return score - 0.1 * len(tokens - self.words) - 0.2 * len(file_tokens - self.words)

    def mentions_family(self, text: str) -> bool:
        """Return whether a text names the model's family, in whichever version."""
        return bool(self.stem) and model_names.mentions(text, self.stem)

    def _has_other_version(self, text: str) -> bool:
        """Return whether a text names the family only in other versions."""
        # "6-9b" is this model's own size, and no version 6.
        text = _SIZE.sub(lambda match: "" if self._is_size(_find_sizes(match[0])[0]) else match[0], text.lower())
        versions = _find_versions(text, self.stem) if self.stem else []
        return bool(versions) and all(_is_other_version(version, self.version) for version in versions)

    def _is_size(self, size: float) -> bool:
        # Names round: 1.7 B is called 1B.
        return any(0.85 <= size / known <= 1.18 or (size >= 1 and int(size) == int(known)) for known in self.sizes)


def is_framework(name: str, model: ModelName) -> bool:
    """Return whether the name "owner/repo" is that of a framework for any model."""
    framework = _FRAMEWORK.search(model_names.split_repo_id(name)[1])
    return framework is not None and model_names.normalize_name(framework[0]) not in model.stem


def names_framework(text: str) -> bool:
    """Return whether a text or path names a framework that trains models."""
    return _FRAMEWORK.search(text) is not None


def _find_stem(name: str, owner_words: Sequence[str], shared: set[str]) -> str:
    """Return the first words of a name that tell its family from all others.

    The owner's words, the names of base models and architectures stand for it only where nothing else does.
    """
    words = [word for word in model_names.split_words(name) if not model_names.is_generic_word(word)]
    owner = {word.lower() for word in owner_words}
    first = [word for word in words if word.lower() not in owner and model_names.strip_version(word) not in shared]
    # "Meta" tells nothing of a model by meta-llama, but "Open" is a part of the name "open_llama".
    rest = [word for word in words if not (word.lower() in owner and word.lower() in _COMMON)]
    for candidates in (first, rest):
        joined = ""
        for word in candidates:
            if len(joined) >= _SHORTEST - 1 and len(word) <= 2:
                break
            joined += model_names.normalize_name(word)
            stem = model_names.strip_version(joined)
            is_long = len(stem) >= _SHORTEST or (len(joined) >= _SHORTEST - 1 and stem != joined)
            if is_long and stem not in _COMMON:
                return stem if len(stem) >= _SHORTEST - 1 and stem not in _COMMON else joined
        if len(joined) >= _SHORTEST - 1 and joined not in _COMMON:
            return joined
    pair = model_names.split_words(name)[:2]
    # Two common words, as in "neural-chat", are a name of their own.
    is_name = len(pair) == 2 and pair[0].lower() in _COMMON and model_names.is_tuned_name("-".join(pair))
    return model_names.normalize_name("".join(pair)) if is_name and len("".join(pair)) >= 2 * _SHORTEST else ""


def _split_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


def _find_sizes(text: str) -> tuple[float, ...]:
    """Return the sizes in a text in 1e9; "6-9B" may be 6.9 and may be 9."""
    sizes = []
    for number, unit in _SIZE.findall(text.lower()):
        sizes.append(float(re.sub(r"[_p-]", ".", number)) * _UNIT[unit])
        if re.search(r"[_p-]", number):
            sizes.append(float(number[-1]) * _UNIT[unit])
    return tuple(sizes)


def _find_version(name: str, stem: str) -> str:
    return next(iter(_find_versions(name, stem)), "") if stem else ""


def _find_versions(text: str, stem: str) -> list[str]:
    """Return for each mention of a family the version after it, "" for none."""
    loose = r"[-_.\s]?".join(map(re.escape, stem))
    # Neither a size ("7b") nor a date ("1124") is a version.
    version = r"[-_.\s]?v?([1-9]\d?(?:[._p]\d{1,2}(?![\d.]*[bmkt](?![a-z])))?)(?![\d.]*[bmkt](?![a-z]))(?!\d|x\d)"
    return [match[1] or "" for match in re.finditer(rf"(?<![a-z0-9]){loose}(?![a-z])(?:{version})?", text.lower())]


def _is_other_version(version: str, known_version: str) -> bool:
    """Return whether a stated version contradicts a known one ("3" stands for "3.1")."""
    if not version or not known_version:
        return version not in ("", "1")
    stated, known = (re.split(r"[._p]", text) for text in (version, known_version))
    return any(first != second for first, second in zip(stated, known, strict=False))
