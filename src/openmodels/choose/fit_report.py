"""The result of `om.fit`, and how it is shown."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from openmodels import escaping
from openmodels.choose.fit_cache import Bounds


class Estimate(float):
    """A number that was not measured.

    Attributes:
        basis: What it rests on.
    """

    basis: str

    def __new__(cls, value: float, basis: str) -> Self:
        """Return a number with its basis."""
        number = super().__new__(cls, value)
        number.basis = basis
        return number


@dataclass(frozen=True, slots=True)
class Variant:
    """A quantised version of a model.

    Attributes:
        id: The hub id.
        weights_bytes: Its weights.
        basis: Where that number comes from.
        fits: Whether it fits where the model itself was asked about.
        loses: What it is known to lose against the model: a line for each score that both have. Empty where nothing is
            known.
    """

    id: str
    weights_bytes: int
    basis: str
    fits: bool
    loses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits in a device's memory, and what it needs there.

    Of a model whose architecture is not known, `kv_cache_bytes` and `total_bytes` are `Bounds`: the least and the most.
    `fits` is then None where the answer lies between them, and `max_context` is that of the most.

    Attributes:
        model: The model.
        device: The device that was asked about.
        dtype: The dtype of the weights in memory.
        context: Tokens of each sequence, prompt and answer together.
        batch: Sequences at the same time.
        weights_bytes: The weights, from the headers of their files.
        kv_cache_bytes: Keys, values and states of all sequences.
        overhead_bytes: All else; `overhead` names its parts.
        total_bytes: The sum.
        available_bytes: Memory of the device for it.
        fits: Whether the total is not more.
        max_context: Tokens up to which it fits with this batch; 0 where it does not fit at all, None where it is not
            known.
        tokens_per_second: Tokens of all sequences together in a second, an `Estimate` with its `basis`; None for a
            machine whose bandwidth is not known.
        variants: Quantised versions that fit.
        assumptions: What the figures rest on.
        overhead: The parts of the overhead in bytes.
        layers: The layers of the cache by kind; "" where they are not known.
    """

    model: str
    device: str
    dtype: str
    context: int
    batch: int
    weights_bytes: int
    kv_cache_bytes: int | Bounds
    overhead_bytes: int
    total_bytes: int | Bounds
    available_bytes: int
    fits: bool | None
    max_context: int | None
    tokens_per_second: Estimate | None
    variants: tuple[Variant, ...] = ()
    assumptions: tuple[str, ...] = ()
    overhead: Mapping[str, int] = field(default_factory=dict)
    layers: str = ""

    def __bool__(self) -> bool:
        """Return whether it fits; False where that is not known."""
        return self.fits is True

    def __str__(self) -> str:
        """Return the report as text of at most 80 columns."""
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it; bounds are lists of two numbers."""
        speed = self.tokens_per_second
        return {
            "model": self.model,
            "device": self.device,
            "dtype": self.dtype,
            "context": self.context,
            "batch": self.batch,
            **{name: _plain(getattr(self, name)) for name in _BYTES},
            "available_bytes": self.available_bytes,
            "fits": self.fits,
            "max_context": self.max_context,
            "tokens_per_second": None if speed is None else round(float(speed), 2),
            "tokens_per_second_basis": None if speed is None else speed.basis,
            "variants": [
                {"id": item.id, "weights_bytes": item.weights_bytes, "basis": item.basis, "fits": item.fits,
                 "loses": list(item.loses)}
                for item in self.variants
            ],
            "assumptions": list(self.assumptions),
            "overhead": dict(self.overhead),
            "layers": self.layers,
        }  # fmt: skip

    def to_text(self, width: int | None = 80) -> str:
        """Return the report in lines of `width` columns; None does not break lines."""
        from openmodels import columns

        lines = [f"{self.model}: {self.verdict}", ""]
        rows = list(self.rows())
        left = max(len(row[0]) for row in rows)
        right = max(len(row[1]) for row in rows)
        for name, size, remark in rows:
            lines += columns.wrap_hanging(remark, width, f"{name:<{left}}  {size:>{right}}  ")
        for title, texts in (("Fit instead", self._variant_lines()), ("Assumptions", list(self.assumptions))):
            if texts:
                lines += ["", f"{title}:"]
            for text in texts:
                lines += columns.wrap_hanging(text, width)
        return "\n".join(escaping.escape_line(line) if line else line for line in lines)

    @property
    def verdict(self) -> str:
        """Return in one line whether it fits."""
        place = "here" if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device) else f"in {self.device}"
        if self.fits is None:
            return f"may fit {place}: its architecture is not known"
        if self.fits:
            most = f", up to {self.max_context:,} tokens" if self.max_context else ""
            return f"fits {place}{most}"
        most = f"; with {self.max_context:,} tokens it would" if self.max_context else ""
        return f"does not fit {place}{most}"

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield the figures: a name, an amount, a remark."""
        yield "weights", gigabytes(self.weights_bytes), self.dtype
        yield (
            "KV cache",
            gigabytes(self.kv_cache_bytes),
            (f"{self.batch:,} x {self.context:,} tokens" + (f"; {self.layers}" if self.layers else "; bounds")),
        )
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in self.overhead.items() if size >= 5 * 10**6)
        yield "overhead", gigabytes(self.overhead_bytes), parts
        yield "total", gigabytes(self.total_bytes), ""
        yield "available", gigabytes(self.available_bytes), f"device {self.device}"
        if self.tokens_per_second is not None:
            yield "speed", f"~{float(self.tokens_per_second):,.0f} tok/s", self.tokens_per_second.basis

    def _variant_lines(self) -> list[str]:
        return [
            f"{item.id}: {gigabytes(item.weights_bytes)} ({item.basis}); "
            + ("; ".join(item.loses) if item.loses else "what it loses is not known")
            for item in self.variants
        ]

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        lines = [f"<p><b>{html.escape(self.model)}</b>: {html.escape(self.verdict)}</p><table>"]
        for name, size, remark in self.rows():
            cells = f"<th>{html.escape(name)}</th><td>{html.escape(size)}</td><td>{html.escape(remark)}</td>"
            lines.append(f'<tr style="text-align:left">{cells}</tr>')
        lines.append("</table>")
        for title, texts in (("Fit instead", self._variant_lines()), ("Assumptions", list(self.assumptions))):
            if texts:
                items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
                lines.append(f"<details><summary>{title}</summary><ul>{items}</ul></details>")
        return "".join(lines)


_BYTES = ("weights_bytes", "kv_cache_bytes", "overhead_bytes", "total_bytes")


def _plain(value: int | Bounds) -> int | list[int]:
    return list(value) if isinstance(value, Bounds) else value


def gigabytes(count: int | Bounds) -> str:
    """Return bytes as text in 10^9 or 10^6 bytes: "1.3 GB", "0 MB to 2.1 GB"."""
    if isinstance(count, Bounds):
        return f"{gigabytes(count.low)} to {gigabytes(count.high)}"
    return f"{count / 1e9:,.1f} GB" if count >= 10**9 else f"{count / 1e6:,.0f} MB"
