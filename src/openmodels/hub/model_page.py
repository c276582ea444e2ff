"""A model's page on the Hub, read once for catalogs and for evidence.

Read from the raw JSON and not through huggingface_hub's `ModelInfo`: there, one row without an id, or with a
`safetensors` that lacks a key, ends the whole listing, and the provenance of scores is dropped.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

from openmodels import licenses
from openmodels.hub import untrusted_fields as fields
from openmodels.hub.card import Relation
from openmodels.hub.offers import Provider
from openmodels.types.messages import Frozen

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
"""An id on the Hub; ids from before organisations have no slash."""

Gate = Literal[False, "auto", "manual"]
"""How access is gated: not at all, by a click, or by a request that the authors review."""

_RELATIONS = frozenset(get_args(Relation))
_RELATION_WORDS = {
    "distill": "distilled",
    "distillation": "distilled",
    "finetuned": "finetune",
    "quantization": "quantized",
}
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx", "max_sequence_length")
"""How the configs of models call the longest sequence, in tokens."""
UNBOUNDED = 2**31 - 1  # the longest sequence in the configs of models that have no limit
_OFFSET_POSITIONS = frozenset(
    """
    camembert data2vec-text ibert lilt longformer luke markuplm mluke mpnet roberta roberta-prelayernorm
    xlm-roberta xlm-roberta-xl xmod
    """.split()  # noqa: SIM905 - forty lines otherwise
)
"""Model types whose first position is the one behind that of padding, so that the first ones are never used."""
_LONGEST_PATH = 1_024


class DeclaredLicense(NamedTuple):
    """The license that a card declares.

    `id` is the SPDX id where there is one, else the Hub's id ("llama2", "other"), several joined by " AND ";
    `name` says more where the id is "other".
    """

    id: str
    name: str | None = None
    link: str | None = None


class RepositoryFile(Frozen):
    """A file of a repository; `size` in bytes."""

    name: str
    size: int | None = None


def parse_gate(value: Any) -> Gate | None:
    """Return how access to a repository is gated, or None where that is not stated.

    The Hub writes False, "auto" or "manual" (`ModelInfo.gated`, and `HfApi.update_repo_settings` for what they
    mean). Older rows have True: there is a gate, and which kind is unknown. It counts as the stricter one.
    """
    if value is None or isinstance(value, list | dict | tuple):
        return None
    match str(value).strip().lower():
        case "auto":
            return "auto"
        case "false" | "no" | "0" | "none" | "":
            return False
        case _:
            return "manual"


def parse_license(card: Mapping[str, Any], tags: Iterable[str] = ()) -> DeclaredLicense | None:
    """Return the license that front matter or, where that has none, tags declare.

    A list of licenses binds as a whole: a model under MIT and CC-BY-NC-4.0 is not free for commercial use.
    """
    ids = fields.texts(card.get("license"))
    ids = ids or fields.texts([tag.removeprefix("license:") for tag in tags if tag.startswith("license:")])
    name, link = fields.text(card.get("license_name")), fields.text(card.get("license_link"))
    if not ids:
        return DeclaredLicense("other", name, link) if name else None
    parts = list(dict.fromkeys(map(licenses.normalise, ids)))
    if len(parts) > 1:
        parts = [f"({part})" if " OR " in part else part for part in parts]
    return DeclaredLicense(" AND ".join(parts), name, link)


def parse_context_length(config: Mapping[str, Any]) -> int | None:
    """Return the longest sequence in tokens by a config.json, or None."""
    text_config = fields.mapping(config.get("text_config"))
    for part in (text_config, config):
        for key in CONTEXT_KEYS:
            if key not in part:
                continue
            length = fields.positive_count(part[key])
            if length is None or length >= UNBOUNDED:
                continue
            padding = part.get("pad_token_id", 1)
            if str(part.get("model_type")) in _OFFSET_POSITIONS and type(padding) is int:
                length -= padding + 1
            return length
    return None


class ModelPage:
    """A model's page on the Hub.

    Args:
        row: An object of `/api/models`, or a row of a dump, where nested values may be JSON text. Fields of
            other types than expected are read as absent.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.row = row
        stated = row.get("id") or row.get("modelId")
        # "owner/name", or "" where the row has no usable id.
        self.id = stated if isinstance(stated, str) and HUB_ID.fullmatch(stated) else ""
        # The account that holds it.
        self.author = self.id.partition("/")[0] if "/" in self.id else fields.text(row.get("author"))
        self.card = fields.mapping(row.get("cardData") or row.get("card_data"))  # the front matter of the card
        self.config = fields.mapping(row.get("config"))  # the parts of config.json that the row holds
        self.gguf = fields.mapping(row.get("gguf"))  # what the Hub read from a GGUF file
        # The Hub's tags, else those of the front matter.
        self.tags = fields.texts(fields.items(row.get("tags"))) or fields.texts(self.card.get("tags"))
        self.gated = parse_gate(row.get("gated"))  # how access is gated
        # The task, in the Hub's words.
        self.task = fields.text(row.get("pipeline_tag")) or fields.text(self.card.get("pipeline_tag"))
        # What loads it.
        self.library = fields.text(row.get("library_name")) or fields.text(self.card.get("library_name"))
        # The kind of model, in transformers' or llama.cpp's words.
        self.model_type = fields.text(self.config.get("model_type")) or fields.text(self.gguf.get("architecture"))

    @property
    def architecture(self) -> str | None:
        """Return the class in transformers ("LlamaForCausalLM")."""
        return next(iter(fields.texts(self.config.get("architectures"))), None)

    @property
    def context_length(self) -> int | None:
        """Return the longest sequence in tokens."""
        return fields.positive_count(self.gguf.get("context_length")) or parse_context_length(self.config)

    @property
    def counted_parameters(self) -> int | None:
        """Return the number of parameters that the Hub counted in the weights."""
        weights = fields.mapping(self.row.get("safetensors"))
        total = fields.positive_count(weights.get("total")) or fields.positive_count(self.gguf.get("total"))
        by_type = fields.mapping(weights.get("parameters")).values()
        return total or sum(fields.positive_count(number) or 0 for number in by_type) or None

    @property
    def license(self) -> DeclaredLicense | None:
        """Return the license that the card or, where it has none, the tags declare."""
        return parse_license(self.card, self.tags)

    @cached_property
    def renamed_bases(self) -> dict[str, str]:
        """Return the present ids of base models that the card calls by former ones.

        The Hub's tags name the bases of the card by their present ids. Where as many of the card's are not among
        the tags as the other way round, these are the same models.
        """
        tags = (tag.rpartition(":")[2] for tag in self.tags if tag.startswith("base_model:"))
        tagged = {base_id.lower(): base_id for base_id in tags if HUB_ID.fullmatch(base_id)}
        stated = {base_id.lower(): base_id for base_id in fields.texts(self.card.get("base_model"))}
        former = [base_id for key, base_id in stated.items() if key not in tagged]
        present = [base_id for key, base_id in tagged.items() if key not in stated]
        return dict(zip(former, present, strict=True)) if len(former) == len(present) else {}

    @property
    def base_models(self) -> dict[str, Relation | None]:
        """Return the base models that it declares, each with the stated relation."""
        bases: dict[str, Relation | None] = {}
        spelled: dict[str, str] = {}

        def add(base_id: Any, relation: Any) -> None:
            if isinstance(base_id, str) and HUB_ID.fullmatch(base_id):
                name = spelled.setdefault(base_id.lower(), base_id)
                bases[name] = bases.get(name) or _relation(relation)

        listed = fields.mapping(self.row.get("baseModels"))
        for entry in fields.objects(listed.get("models")):
            add(entry.get("id"), listed.get("relation"))
        for tag in self.tags:
            if tag.startswith("base_model:"):
                relation, _, base_id = tag.removeprefix("base_model:").rpartition(":")
                add(base_id, relation)
        stated = self.card.get("base_model_relation")
        for base_id in fields.texts(self.card.get("base_model")):
            add(self.renamed_bases.get(base_id, base_id), stated)
        # The author's own word counts for every base; several bases of a merge are merged.
        is_merge = len(bases) > 1 and "merge" in self.tags
        return {
            base_id: _relation(stated) or relation or ("merge" if is_merge else None)
            for base_id, relation in bases.items()
        }

    @property
    def trained_from(self) -> str | None:
        """Return the model that its config was loaded from (`_name_or_path`)."""
        path = fields.text(self.config.get("_name_or_path")) or ""
        return path if "/" in path and HUB_ID.fullmatch(path) and path.lower() != self.id.lower() else None

    @property
    def datasets(self) -> list[str]:
        """Return the data sets that the front matter or the tags name."""
        tagged = [tag.removeprefix("dataset:") for tag in self.tags if tag.startswith("dataset:")]
        return list(dict.fromkeys([*fields.texts(self.card.get("datasets")), *tagged]))

    @cached_property
    def files(self) -> tuple[RepositoryFile, ...]:
        """Return the files that the row lists."""
        return tuple(
            RepositoryFile(name=name, size=fields.size(entry.get("size")))
            for entry in fields.objects(self.row.get("siblings"))
            if isinstance(path := entry.get("rfilename"), str) and (name := fields.clean(path[:_LONGEST_PATH]))
        )

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Return the providers that the row names.

        Rows of listings have a list of them, rows of single models an object.
        """
        listed = self.row.get("inferenceProviderMapping")
        if isinstance(listed, Mapping):
            listed = [{"provider": name, **fields.mapping(entry)} for name, entry in listed.items()]
        return tuple(
            Provider(model=self.id, provider=name, status=fields.text(entry.get("status")))
            for entry in fields.objects(listed)
            if (name := fields.text(entry.get("provider")))
        )


def _relation(stated: Any) -> Relation | None:
    text = str(stated or "").lower()
    text = _RELATION_WORDS.get(text, text)
    return text if text in _RELATIONS else None  # type: ignore[return-value]
