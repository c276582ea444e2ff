"""The report of a comparison: one HTML file that needs nothing beside it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from openmodels.compare import charts
from openmodels.compare.prompts import ComparedPrompt
from openmodels.compare.results import ComparedPair
from openmodels.escaping import escape_html

if TYPE_CHECKING:
    from openmodels.compare.comparison import Comparison

_LONGEST_DIFF = 1_500  # words of both texts; comparing takes their product in time
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")

# Answers are text of strangers: were one to get past the escaping, it still could load and send nothing.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6573;--paper:#fff;--box:#f4f6f9;--line:#d5dbe3;--mark:#ffe9a8;
--bad:#b42318;--good:#0a7a4b}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#9aa5b4;--paper:#12161c;--box:#1b212a;--line:#333d4a;
--mark:#5c4a10;--bad:#ff8a80;--good:#5fd3a0}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:24px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:32px 0 8px}h3{font-size:15px;margin:16px 0 6px}
p,ul{margin:6px 0}.dim{color:var(--dim)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid var(--line);padding:5px 9px;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{color:var(--dim);font-weight:600}
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:16px}
svg{width:100%;height:auto;background:var(--box);border-radius:8px;font:12px system-ui,sans-serif}
svg text{fill:var(--ink)}svg .grid{stroke:var(--line)}
.filters{position:sticky;top:0;background:var(--paper);padding:10px 0;display:flex;flex-wrap:wrap;gap:12px;
align-items:center;border-bottom:1px solid var(--line);z-index:1}
input[type=search],select{font:inherit;padding:4px 8px;color:inherit;background:var(--box);border:1px solid var(--line);
border-radius:6px}
article{margin:16px 0;border:1px solid var(--line);border-radius:8px}
article>header{background:var(--box);padding:8px 12px;border-radius:8px 8px 0 0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:inherit}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr))}
.answer{padding:8px 12px;border-top:1px solid var(--line);min-width:0}.answer+.answer{border-left:1px solid var(--line)}
.answer h4{margin:0 0 4px;font-size:13px;overflow-wrap:anywhere}.dot{display:inline-block;width:10px;height:10px;
border-radius:5px;margin-right:6px}
mark{background:var(--mark);color:inherit;border-radius:3px}.error{color:var(--bad)}
.tag{border:1px solid var(--line);border-radius:10px;padding:0 8px;font-size:12px;margin-left:6px}
"""

_SCRIPT = """
const cards=[...document.querySelectorAll("article")],find=document.getElementById("find"),
tag=document.getElementById("tag"),only=document.getElementById("only"),shown=document.getElementById("shown");
function show(){const text=find.value.toLowerCase();let count=0;for(const card of cards){
const tags=card.dataset.tags.split(",");
const fits=(!text||card.textContent.toLowerCase().includes(text))&&(!tag.value||tags.includes(tag.value))&&
(!only.value||card.dataset.kinds.split(" ").includes(only.value));card.hidden=!fits;count+=fits}
shown.textContent=`${count} of ${cards.length} prompts`}
for(const field of[find,tag,only])field.addEventListener("input",show);show();
"""


def render_report(comparison: Comparison) -> str:
    """Return the report of a comparison."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,"><title>Comparison of models</title>',
        f"<style>{_STYLE}</style></head><body>",
        *_head(comparison),
        *_matrix(comparison),
        *_charts(comparison),
        *_prompts(comparison),
        f"<script>{_SCRIPT}</script></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _head(comparison: Comparison) -> Iterator[str]:
    failed = sum(row["error"] is not None for row in comparison.rows)
    facts = [
        f"{len(comparison.models)} models",
        f"{len(comparison.prompts)} prompts",
        f"{len(comparison.rows)} answers",
        f"{failed} failed" if failed else "none failed",
        "" if comparison.cost is None else f"${comparison.cost:.4f} in this run",
    ]
    yield f'<h1>Comparison of models</h1><p class="dim">{escape_html(" · ".join(fact for fact in facts if fact))}</p>'
    yield "<h2>What the answers tell</h2><ul>"
    yield from (f"<li>{escape_html(sentence)}</li>" for sentence in comparison.summary)
    yield "</ul>"


def _matrix(comparison: Comparison) -> Iterator[str]:
    heads, body = comparison.cells()
    yield "<h2>Models</h2>"
    yield _table(heads, [[escape_html(cell) for cell in row] for row in body])
    yield '<p class="dim">Scores are means with 95 % intervals; times are medians while other calls ran.</p>'
    if comparison.pairs:
        yield "<h2>Pairs</h2>"
        for metric, pairs in groupby(comparison.pairs, key=lambda pair: pair.metric):
            yield from _pair_table(metric, list(pairs))
        yield (
            '<p class="dim">Wins, losses and ties are of the first model; p is corrected for all pairs of a metric '
            "(Holm). A pair with p above 0.05 is not told apart.</p>"
        )


def _pair_table(metric: str, pairs: Sequence[ComparedPair]) -> Iterator[str]:
    yield f"<h3>{escape_html(metric)}</h3>"
    heads = ["pair", "verdict", "more prompts", "wins", "losses", "ties", "difference", "95 % interval", "p", "test"]
    rows = []
    for pair in pairs:
        kind = pair.verdict if pair.verdict in ("better", "worse") else "dim"
        low, high = pair.interval
        rows.append(
            [
                escape_html(f"{pair.a} against {pair.b}"),
                f'<span class="{kind}">{pair.verdict}</span>',
                "" if pair.prompts_needed is None else f"{pair.prompts_needed:,}",
                *(str(number) for number in (pair.wins, pair.losses, pair.ties)),
                f"{pair.difference:+.3g}" if pair.count else "",
                f"{low:+.3g} to {high:+.3g}" if pair.count else "",
                f"{pair.p_adjusted:.3g}",
                escape_html(pair.test),
            ]
        )
    yield _table(heads, rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape_html(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _charts(comparison: Comparison) -> Iterator[str]:
    by_model = {name: [row for row in comparison.rows if row["model"] == name] for name in comparison.models}

    def values(field: str) -> dict[str, list[float]]:
        return {name: [row[field] for row in rows if row[field] is not None] for name, rows in by_model.items()}

    yield '<h2>Scores, times and costs</h2><div class="charts">'
    for metric in comparison.metrics:
        if any(comparison.scores[metric].values()):
            yield charts.draw_scores(metric, comparison.scores[metric])
    for field, title in (("seconds", "seconds of an answer"), ("first_token_seconds", "seconds to the first text")):
        if any((times := values(field)).values()):
            yield charts.draw_times(times, f"{title}; the line is the median")
    costs = {name: sum(amounts) for name, amounts in values("cost").items() if amounts}
    if costs:
        yield charts.draw_costs(costs)
    yield "</div>"


def _prompts(comparison: Comparison) -> Iterator[str]:
    tags = sorted({tag.replace(",", " ") for prompt in comparison.prompts for tag in prompt.tags})
    options = "".join(f'<option value="{escape_html(tag)}">{escape_html(tag)}</option>' for tag in tags)
    yield (
        '<h2>Answers side by side</h2><div class="filters">'
        '<input type="search" id="find" placeholder="Find text" aria-label="Find text">'
        f'<select id="tag" aria-label="Tag"{"" if tags else " hidden"}><option value="">all tags</option>{options}'
        '</select><select id="only" aria-label="Kind"><option value="">all prompts</option>'
        '<option value="differs">scores differ</option><option value="texts">texts differ</option>'
        '<option value="failed">an answer failed</option></select><span id="shown" class="dim"></span></div>'
    )
    yield '<p class="dim">Marked is what the first answer lacks, and in it what the second lacks.</p>'
    by_index: dict[int, list[dict[str, Any]]] = {}
    for row in comparison.rows:
        by_index.setdefault(row["index"], []).append(row)
    for prompt in comparison.prompts:
        yield from _prompt(comparison, prompt, by_index.get(prompt.index, []))


def _prompt(comparison: Comparison, prompt: ComparedPrompt, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    texts = {row["text"] for row in rows}
    scores = [[row["scores"].get(metric) for row in rows] for metric in comparison.metrics]
    kinds = [
        kind
        for kind, applies in (
            ("differs", any(len(set(values) - {None}) > 1 for values in scores)),
            ("texts", len(texts) > 1),
            ("failed", any(row["error"] is not None for row in rows)),
        )
        if applies
    ]
    tags = escape_html(",".join(tag.replace(",", " ") for tag in prompt.tags))
    yield f'<article data-kinds="{" ".join(kinds)}" data-tags="{tags}"><header>'
    shown_tags = "".join(f'<span class="tag">{escape_html(tag)}</span>' for tag in prompt.tags)
    cluster = "" if prompt.cluster is None else f' <span class="dim">{escape_html(prompt.cluster)}</span>'
    yield f"<b>{prompt.index + 1}</b>{cluster}{shown_tags}<pre>{escape_html(prompt.text)}</pre>"
    if prompt.reference is not None:
        references = prompt.reference if isinstance(prompt.reference, list | tuple) else [prompt.reference]
        shown = " / ".join(str(reference) for reference in references)
        yield f'<pre class="dim">expected: {escape_html(shown)}</pre>'
    yield "</header>"
    repeats = sorted({row["repeat"] for row in rows})
    for repeat in repeats:
        answers = [row for row in rows if row["repeat"] == repeat]
        yield '<div class="answers">'
        for place, row in enumerate(answers):
            other = answers[0 if place else min(1, len(answers) - 1)]
            yield _answer(comparison, row, other["text"] or "", comparison.models.index(row["model"]))
        yield "</div>"
    yield "</article>"


def _answer(comparison: Comparison, row: Mapping[str, Any], other: str, place: int) -> str:
    color = charts.COLORS[place % len(charts.COLORS)]
    facts = [
        *(
            f"{metric} {row['scores'][metric]:.3g}"
            for metric in comparison.metrics
            if row["scores"].get(metric) is not None
        ),
        "" if row["seconds"] is None else f"{row['seconds']:.2f} s",
        "" if row["output_tokens"] is None else f"{row['output_tokens']} tokens",
        "" if row["cost"] is None else f"${row['cost']:.6f}",
        row["finish_reason"] if row["finish_reason"] not in (None, "stop") else "",
    ]
    dim = escape_html(" · ".join(fact for fact in facts if fact))
    error = "" if row["error"] is None else f'<pre class="error">{escape_html(row["error"])}</pre>'
    text = "" if row["text"] is None else f"<pre>{mark_differences(row['text'], other)}</pre>"
    name = f'<h4><span class="dot" style="background:{color}"></span>{escape_html(row["model"])}</h4>'
    return f'<div class="answer">{name}{text}{error}<div class="dim">{dim}</div></div>'


def mark_differences(text: str, other: str) -> str:
    """Return a text as HTML, with the words marked that another text lacks."""
    words, others = _WORDS.findall(text), _WORDS.findall(other)
    if text == other or len(words) + len(others) > _LONGEST_DIFF:
        return escape_html(text)
    matcher = difflib.SequenceMatcher(None, others, words, autojunk=False)
    parts = []
    for kind, _, _, start, end in matcher.get_opcodes():
        piece = escape_html("".join(words[start:end]))
        parts.append(f"<mark>{piece}</mark>" if kind != "equal" and piece.strip() else piece)
    return "".join(parts)
