"""Build an index of millions of models, search it, and compare with a plain scan.

    python benchmarks/catalog.py [--models 3000000] [--keep FILE] [--json]

Prints build rate, file size, the times of 200 mixed queries and the memory of building and of
searching, beside the same words as a SQL LIKE scan and as a loop over rows in Python; then recall@5
of the judged queries among all those models, and of the queries as people phrase them. With --json it
prints one line with the keys records, query_ms and query_cpu_ms (median, p95), file_mb, recall_at_5
and recall_at_5_people; on a machine that does other work, compare the time of the CPU. The Hub's
models in it are those of tests/catalog/models.tsv and models_people.tsv; the others are made up
(benchmarks/synthetic.py).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

from synthetic import rows

from openmodels.catalog import query
from openmodels.catalog.index.reader import Index
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.search import execute
from openmodels.catalog.sources import hub_records
from openmodels.hub.model_names import search_terms

# The readers of the tables of models lie beside the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
import catalog_tables

_TABLES = Path(__file__).parents[1] / "tests" / "catalog"
_AS_OF = date(2026, 11, 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=3_000_000)
    parser.add_argument("--keep", type=Path, help="where to keep the index; an existing one is searched as it is")
    parser.add_argument("--part", choices=("build", "search", "like", "loop", "judge"))
    parser.add_argument("--json", action="store_true", help="print one line of JSON and nothing else")
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(_PARTS[arguments.part](arguments.keep, arguments.models)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "catalog.sqlite"
        # Each part in a process of its own: memory is counted from zero.
        run = _runner(path, arguments.models)
        built = None if path.exists() else run("build")
        with Index(path) as index:
            records, file_mb = len(index), path.stat().st_size / 1e6
        if arguments.json:
            _print_json(records, file_mb, run("search"), run("judge"))
            return
        if built:
            print(f"build     {built['rate']:,.0f} models/s, {built['seconds']:.0f} s, peak {built['memory']:.0f} MB")
        print(f"file      {file_mb:.0f} MB for {records:,} different models")
        _show("search", run("search"))
        _show("LIKE", run("like"))
        _show("loop", run("loop"))
        for name, judged in run("judge").items():
            print(f"recall@5  {judged['recall']:.3f} over {judged['queries']} queries of {name}.tsv")
            for query_text, first in judged["missed"].items():
                print(f"          missed: {query_text!r}: {', '.join(first)}")


def _print_json(records: int, file_mb: float, search: dict[str, Any], judged: dict[str, Any]) -> None:
    figures = {
        "records": records,
        "query_ms": {name: round(search[name], 2) for name in ("median", "p95")},
        "query_cpu_ms": {name: round(search["cpu"][name], 2) for name in ("median", "p95")},
        "file_mb": round(file_mb, 1),
        "recall_at_5": round(judged["judged"]["recall"], 4),
        "recall_at_5_people": round(judged["judged_people"]["recall"], 4),
    }
    print(json.dumps(figures))


def build(path: Path, count: int) -> dict[str, Any]:
    start = time.perf_counter()
    with Writer(path, fresh=True) as writer:
        # The real ones last: a made-up row may have a real name.
        real = (catalog_tables.hub_records(_TABLES / name) for name in ("models.tsv", "models_people.tsv"))
        for row in chain(rows(count), *real):
            writer.put(hub_records.build_record(row, _AS_OF))
        writer.flush({"hub.as_of": _AS_OF.isoformat()})
        writer.finish()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "rate": count / seconds, "memory": _memory()}


def timed_search(path: Path, count: int) -> dict[str, Any]:
    del count
    index = Index(path)
    return _timed(
        [lambda arguments=arguments: execute.search(index, query.build_query(**arguments)) for arguments in mixed()],
        mixed(),
    )


def timed_like(path: Path, count: int) -> dict[str, Any]:
    del count
    database = sqlite3.connect(path)

    def scan(arguments: dict[str, Any]) -> None:
        found = search_terms(arguments.get("text", "")) or ("",)
        where = " AND ".join("id LIKE ?" for _ in found)
        limits = [f"%{word}%" for word in found]
        database.execute(f"SELECT id FROM models WHERE {where} ORDER BY downloads DESC LIMIT 20", limits).fetchall()

    some = mixed()[::20]
    return _timed([lambda arguments=arguments: scan(arguments) for arguments in some], some)


def timed_loop(path: Path, count: int) -> dict[str, Any]:
    del count
    listed = sqlite3.connect(path).execute("SELECT id, downloads FROM models").fetchall()

    def loop(arguments: dict[str, Any]) -> None:
        found = search_terms(arguments.get("text", ""))
        hits = [row for row in listed if all(word in row[0].lower() for word in found)]
        sorted(hits, key=lambda row: -(row[1] or 0))[:20]

    some = mixed()[::20]
    return _timed([lambda arguments=arguments: loop(arguments) for arguments in some], some)


def judge(path: Path, count: int) -> dict[str, Any]:
    del count
    index, judged = Index(path), {}

    def search(text: str) -> list[str]:
        return [record.id for _, record in execute.search(index, query.build_query(text, limit=5)).hits]

    for name in ("judged", "judged_people"):
        queries = catalog_tables.judged_queries(_TABLES / f"{name}.tsv")
        recall, missed = catalog_tables.recall_at_5(queries, search)
        judged[name] = {"recall": recall, "queries": len(queries), "missed": missed}
    return judged


def mixed() -> list[dict[str, Any]]:
    """Return 200 queries: words, misspelled words, filters, orders, sentences."""
    draw = random.Random(3)
    kinds = ("llama", "mistral", "qwen", "gemma", "bert", "whisper", "falcon", "phi", "deepseek", "flux")
    uses = ("chat", "instruct", "code", "math", "medical", "japanese", "german", "roleplay", "sentiment", "gguf")
    found: list[dict[str, Any]] = []
    for number in range(40):
        found.append({"text": f"{draw.choice(kinds)} {draw.choice(uses)} {draw.choice(('7b', '8b', '3b', ''))}"})
        wrong = draw.choice(("mistrl", "lama", "deepsek", "qwenn", "gema", "falcn", "whispr", "instrct", "embeding"))
        found.append({"text": f"{wrong} {draw.choice(uses)}"})
        found.append({
            "text": draw.choice(("", draw.choice(kinds), draw.choice(uses))),
            "license": draw.choice(("apache-2.0", "mit", "llama2")),
            "parameters": draw.choice(("1B..8B", "<=3B", "30B..80B", None)),
            "language": draw.choice(("ja", "de", "en", None)),
        })  # fmt: skip
        found.append({
            "text": draw.choice((draw.choice(kinds), draw.choice(uses), "")),
            "sort": draw.choice(("downloads", "likes", "updated", "created", "parameters")),
            "task": draw.choice(("text-generation", "text-classification", None)),
        })  # fmt: skip
        spoken = draw.choice(("japanese", "german", "korean"))
        sentence = f"a {spoken} {draw.choice(uses)} model under 8 B that I may use commercially"
        found.append({"text": sentence if number % 2 else draw.choice((*kinds, *uses))})
    return found


def _timed(calls: list[Callable[[], Any]], arguments: list[dict[str, Any]]) -> dict[str, Any]:
    times, cpu_times = [], []
    for call in calls:
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        cpu_times.append((time.process_time() - cpu_start) * 1000)
        times.append((time.perf_counter() - start) * 1000)
    ranked, cpu_ranked = sorted(times), sorted(cpu_times)
    slowest = max(range(len(times)), key=times.__getitem__)
    return {
        "queries": len(times),
        "median": ranked[len(ranked) // 2],
        "p95": ranked[int(len(ranked) * 0.95)],
        "worst": ranked[-1],
        "cpu": {"median": cpu_ranked[len(ranked) // 2], "p95": cpu_ranked[int(len(ranked) * 0.95)]},
        "slowest": str(arguments[slowest]),
        "memory": _memory(),
    }


def _show(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name:9} median {found['median']:.1f} ms, p95 {found['p95']:.1f} ms, worst {found['worst']:.0f} ms "
        f"({found['queries']} queries), peak {found['memory']:.0f} MB; slowest: {found['slowest'][:90]}"
    )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _runner(path: Path, count: int) -> Callable[[str], dict[str, Any]]:
    def run(part: str) -> dict[str, Any]:
        command = [sys.executable, __file__, "--part", part, "--keep", str(path), "--models", str(count)]
        return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    return run


_PARTS = {"build": build, "search": timed_search, "like": timed_like, "loop": timed_loop, "judge": judge}

if __name__ == "__main__":
    main()
