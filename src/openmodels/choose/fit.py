"""`om.fit`: whether a model fits in a device's memory, and what it needs there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from openmodels import background
from openmodels.backends.local.weights import checkpoint
from openmodels.backends.local.weights.process_memory import cpu_has_bfloat16
from openmodels.catalog.record import ModelRecord
from openmodels.choose import fit_files, fit_variants
from openmodels.choose.fit_cache import Bounds, bound_cache, decoder_config, read_layout
from openmodels.choose.fit_device import Device, read_device
from openmodels.choose.fit_files import ModelFiles
from openmodels.choose.fit_gguf import WIDTH as GGUF_WIDTH, bound_gguf_cache, read_gguf_layout
from openmodels.choose.fit_overhead import Overhead
from openmodels.choose.fit_report import Estimate, Fit, gigabytes
from openmodels.choose.fit_types import KNOWN
from openmodels.errors import ErrorBoundary, InvalidRequest
from openmodels.hub import addresses
from openmodels.hub.model_page import parse_context_length
from openmodels.model import Model

_DEFAULT_CONTEXT = 8192
_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_LARGEST = 2**31
"""Tokens and sequences beyond which a number is a slip."""


@ErrorBoundary()
def fit(
    model: str | Path | ModelRecord | Model,
    *,
    context: int | None = None,
    batch: int = 1,
    device: str = "auto",
    dtype: str | None = None,
) -> Fit:
    """Return whether a model fits in a device's memory, and what it needs there.

    Nothing is downloaded but config.json and the headers of the weights. A folder, a .gguf file and a model in the
    cache of the Hub need no network. The figures are those of the backend "local".

    Args:
        model: A Hub id or its page's address, "local:…", a folder, a .gguf file, a record of the catalog or a `Model`.
        context: Tokens of each sequence, prompt and answer together; default 8192, or the model's own limit if that is
            lower.
        batch: Sequences that run at the same time.
        device: "auto" for this machine's best, "cpu", "cuda", "cuda:1" or "mps" measure it; "cuda:24GB", "cpu:16GB" and
            "mps:32GB" ask about another one.
        dtype: "float32", "bfloat16" or "float16"; None or "auto" is what the backend "local" takes there.

    Raises:
        InvalidRequest: An argument is wrong; the message names it.
        InvalidReference: The text names no model.
        ModelNotFound: No such file, folder or repository.
        GatedModel: The model's terms must be accepted first.
        LoadFailed: It has no weights, or damaged ones; `UnsafeWeights`: only pickles.
        NotConfigured: This machine has no such device.
        MissingExtra: Measuring this machine, or reading a GGUF file, needs a package that is not installed.
        Offline: Its files are not on this disk, and the Hub is out of reach.
    """
    return _fit(model, context, batch, device, dtype)


async def afit(
    model: str | Path | ModelRecord | Model,
    *,
    context: int | None = None,
    batch: int = 1,
    device: str = "auto",
    dtype: str | None = None,
) -> Fit:
    """Return whether a model fits: the async twin of `fit`.

    Raises:
        OpenModelsError: As `fit` does.
    """
    with ErrorBoundary():
        return await background.arun(_fit, model, context, batch, device, dtype)


def _fit(model: Any, context: int | None, batch: int, device: str, dtype: str | None) -> Fit:
    if context is not None:
        _check_count("context", context, "tokens")
    _check_count("batch", batch, "sequences")
    _check_dtype(dtype)
    reference, revision, stated = _reference(model)
    dtype = stated if dtype in (None, "auto") else dtype
    target = read_device(device)
    opened = fit_files.open_files(reference, revision, dtype or "auto")
    calculation = _Calculation(opened, target, dtype)
    limit = calculation.limit
    if context is not None and limit is not None and context > limit:
        raise InvalidRequest(
            f"context: {context:,} tokens are more than {opened.name} takes: {limit:,}.",
            next_step=f"Ask for at most {limit:,}.",
        )
    tokens = context or min(_DEFAULT_CONTEXT, limit or _DEFAULT_CONTEXT)
    result = calculation.fit(tokens, batch, is_default=context is None)
    return replace(result, **fit_variants.find(model, result))


def _check_count(name: str, value: Any, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < _LARGEST:
        raise InvalidRequest(
            f"{name}: {repr(value)[:60]} is not a number of {unit}.",
            next_step=f"Write a whole number from 1 to {_LARGEST - 1:,}.",
        )


def _check_dtype(dtype: Any) -> None:
    if dtype not in (None, "auto", *_WIDTHS):
        raise InvalidRequest(
            f"dtype: expected {', '.join(map(repr, _WIDTHS))} or 'auto', not {str(dtype)[:60]!r}.",
            next_step="'auto' takes what the backend 'local' would.",
        )


def _reference(model: Any) -> tuple[str, str | None, str | None]:
    """Return what stands behind "local:", a revision, and a loaded model's dtype."""
    if isinstance(model, Model):
        facts = model.backend.describe() if model.backend.name == "local" else {}
        stated = facts.get("dtype")
        return fit_files.check_reference(model.reference), None, stated if stated in _WIDTHS else None
    if isinstance(model, ModelRecord):
        if model.local:
            return str(model.local), None, None
        if model.ids.hub:
            return model.ids.hub, None, None
        raise InvalidRequest(
            f"{model.id} has no weights to download: the catalog lists it as a service.",
            next_step="Name the model of the Hub that it serves.",
        )
    if isinstance(model, Path):
        return str(model) if fit_files.is_path(str(model)) else f"./{model}", None, None
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequest(
            f"model: {str(model)[:60]!r} names no model.",
            next_step="Name a model of the Hub (org/model), a folder or a .gguf file.",
        )
    text = model.strip()
    rest = addresses.model_id_of(text) if "://" in text else fit_files.check_reference(text)
    if fit_files.is_path(rest) or "@" in rest or (rest.count("/") > 1 and rest.lower().endswith(".gguf")):
        return rest, None, None
    return addresses.model_id_of(rest), None, None


class _Calculation:
    """The figures of one model on one device, for any context."""

    def __init__(self, opened: ModelFiles, device: Device, dtype: str | None) -> None:
        self.files, self.device = opened, device
        self.assumptions: list[str] = []
        gguf = opened.gguf
        if gguf is not None:
            if dtype is not None:
                raise InvalidRequest(
                    "dtype: a GGUF file is computed with the types that it holds.", next_step="Leave dtype out."
                )
            self.dtype, self.width, self.cache_width = "as in the file", None, GGUF_WIDTH
            self.layout = read_gguf_layout(gguf)
            self.limit = gguf.read_number("context_length")
            self.unpacked = False
        else:
            config = opened.config
            self.dtype = dtype or _default_dtype(config, opened, device, self.assumptions)
            self.width = self.cache_width = _WIDTHS[self.dtype]
            self.layout = read_layout(config)
            text = decoder_config(config)
            positions = text.get("max_target_positions")  # of a decoder whose encoder hears
            stated = positions if type(positions) is int and positions > 0 else None
            self.limit = parse_context_length(text) or parse_context_length(config) or stated
            self.unpacked = device.kind == "cpu" and checkpoint.unpacking_factor(config) > 1
        self.weights = opened.weight_bytes(self.width, unpacked=self.unpacked)
        self.overhead = Overhead(opened, device, self.width, self.weights, self.layout)

    def fit(self, context: int, batch: int, *, is_default: bool) -> Fit:
        cache = self.cache(context, batch)
        parts = self.overhead.parts(context, batch)
        overhead = sum(parts.values())
        rest = self.weights + overhead
        total = Bounds(rest + cache.low, rest + cache.high) if isinstance(cache, Bounds) else rest + cache
        return Fit(
            model=self.files.name,
            device=self.device.name,
            dtype=self.dtype,
            context=context,
            batch=batch,
            weights_bytes=self.weights,
            kv_cache_bytes=cache,
            overhead_bytes=overhead,
            total_bytes=total,
            available_bytes=self.device.available,
            fits=self.fits(total),
            max_context=self.max_context(batch),
            tokens_per_second=self.speed(cache, batch),
            assumptions=tuple(self.assume(context, is_default=is_default)),
            overhead=parts,
            layers=self.layout.describe() if self.layout else "",
        )

    def cache(self, context: int, batch: int) -> int | Bounds:
        """Return the bytes that all sequences take, or their bounds."""
        if self.layout is not None:
            return self.layout.count_bytes(context, batch, self.cache_width)
        if self.files.gguf is not None:
            bounds = bound_gguf_cache(self.files.gguf, context, batch)
        else:
            bounds = bound_cache(self.files.config, context, batch, self.cache_width)
        # Without any setting: a token's keys and values take no more numbers than the weights have.
        return bounds or Bounds(0, self.weights * context * batch)

    def fits(self, total: int | Bounds) -> bool | None:
        low, high = total if isinstance(total, Bounds) else (total, total)
        return True if high <= self.device.available else False if low > self.device.available else None

    def total(self, context: int, batch: int) -> int:
        cache = self.cache(context, batch)
        most = cache.high if isinstance(cache, Bounds) else cache
        return self.weights + most + sum(self.overhead.parts(context, batch).values())

    def max_context(self, batch: int) -> int | None:
        """Return the tokens up to which the most of the total fits."""
        high = self.limit or _LARGEST
        if self.total(1, batch) > self.device.available:
            return 0
        if self.total(high, batch) <= self.device.available:
            return self.limit
        low = 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.total(middle, batch) <= self.device.available else (low, middle)
        return low

    def speed(self, cache: int | Bounds, batch: int) -> Estimate | None:
        if self.device.bandwidth is None:
            return None
        active = self.files.active_bytes(self.width, unpacked=self.unpacked)
        read = active + (cache.high if isinstance(cache, Bounds) else cache)
        basis = (
            f"at most: {self.device.bandwidth / 1e9:,.0f} GB/s measured here, {gigabytes(read)} read for each step "
            f"of {batch:,} (weights {gigabytes(active)} and the cache)"
        )
        return Estimate(batch * self.device.bandwidth / read, basis)

    def assume(self, context: int, *, is_default: bool) -> list[str]:
        limit = f"; the model takes {self.limit:,}" if self.limit else "; the model states no limit"
        lines = [f"context: {context:,} tokens, prompt and answer together{limit}"] if is_default else []
        lines.append(f"weights: counted in {self.files.source}")
        lines += self.assumptions
        if self.layout is None:
            header = self.files.gguf
            kind = header.architecture if header else decoder_config(self.files.config).get("model_type")
            reason = f"the architecture {kind!r} is not known"
            if header is None and kind in KNOWN:
                reason = f"config.json lacks settings of {kind!r}"
            lines.append(
                f"{reason}: its cache is between nothing, as of a recurrent model, and keys and values of every head "
                "in every layer; where their number is not stated either, as many numbers a token as the weights have"
            )
        elif self.layout.cross:
            length = self.layout.encoder_tokens
            read = f"{length:,} tokens" if length is not None else "as many tokens as the context"
            lines.append(f"cross attention: the encoder reads {self.layout.source}, {read}")
        if self.unpacked:
            lines.append("packed weights: transformers unpacks them on a CPU")
        lines += self.overhead.assumptions
        lines.append(f"available: {self.device.basis}; 1 GB is 10^9 bytes")
        if self.device.bandwidth is None:
            lines.append("speed: not estimated, the bandwidth of that machine is not known")
        return lines


def _default_dtype(config: Mapping[str, Any], opened: ModelFiles, device: Device, assumptions: list[str]) -> str:
    """Return the dtype that the backend "local" takes on a device."""
    # As `choose_dtype` of the torch engine, which cannot be asked without torch, nor about another machine.
    stored = checkpoint.stored_dtype(config) or _most_common_dtype(opened)
    if device.kind != "cpu":
        chosen = "float16" if stored == "float32" else stored if stored in _WIDTHS else "bfloat16"
        why = "what the backend 'local' takes on a GPU"
    elif device.is_here:
        chosen = "bfloat16" if cpu_has_bfloat16() else "float32"
        why = f"what the backend 'local' takes on this CPU, which has {'' if chosen == 'bfloat16' else 'no '}bfloat16"
    else:
        chosen = "float32" if stored == "float32" else "bfloat16"
        why = "for a CPU with bfloat16; one without it takes float32" if chosen == "bfloat16" else "as stored"
    assumptions.append(f"dtype: {chosen}, {why}")
    return chosen


def _most_common_dtype(opened: ModelFiles) -> str:
    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    elements: dict[str, int] = {}
    for tensor in opened.tensors.values():
        elements[tensor.dtype] = elements.get(tensor.dtype, 0) + tensor.elements
    return names.get(max(elements, key=lambda name: elements[name], default=""), "bfloat16")
