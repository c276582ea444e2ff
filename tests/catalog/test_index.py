"""The index: whole whatever happens, one row per model, readers that never wait."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date

import pytest

from openmodels.catalog import query, record_merging
from openmodels.catalog.index.reader import Index
from openmodels.catalog.index.writer import Writer, in_memory
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.catalog.search import execute
from openmodels.catalog.sources import azure, hub_records
from openmodels.errors import InvalidRequest
from openmodels.hub.model_page import HUB_ID

DAY = date(2026, 11, 1)


def made(name="org/model", day=DAY, **fields):
    return hub_records.build_record({"id": name, **fields}, day)


def written(path, *records, fresh=False):
    with Writer(path, fresh=fresh) as writer:
        writer.put_all(records)
        writer.finish()


def found(index, text):
    return [record.id for _, record in execute.search(index, query.build_query(text)).hits]


def test_every_record_comes_back(index, records):
    for record in records:
        assert index.get(record.id.upper()) == record


def test_an_update_replaces_the_row_and_its_words(tmp_path):
    path = tmp_path / "c.sqlite"
    written(path, made(tags=["medical"], downloads=5, pipeline_tag="summarization"), made("org/other"))
    written(path, made(tags=["legal"], downloads=500_000, pipeline_tag="translation"))
    with Index(path) as index:
        assert len(index) == 2
        assert index.get("org/model").tags == ("legal",)
        assert found(index, "legal") == ["org/model"]
        assert "org/model" not in found(index, "medical")
        with closing(sqlite3.connect(path)) as database:
            database.execute("INSERT INTO words(words) VALUES ('integrity-check')")


def test_a_reader_keeps_its_index_while_another_takes_its_place(tmp_path):
    path = tmp_path / "c.sqlite"
    written(path, made("org/old"))
    with Index(path) as before:
        written(path, made("org/new"), fresh=True)
        assert found(before, "old") == ["org/old"]
        with Index(path) as after:
            assert found(after, "old") == []
            assert found(after, "new") == ["org/new"]


def test_readers_do_not_wait_for_a_writer(tmp_path):
    path = tmp_path / "c.sqlite"
    written(path, made("org/old"))
    with Writer(path) as writer:
        writer.put(made("org/new"))
        writer.flush()
        with Index(path) as index:
            assert found(index, "old") == ["org/old"]
            assert found(index, "new") == []
        writer.finish()
    with Index(path) as index:
        assert found(index, "new") == ["org/new"]


def test_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "c.sqlite"
    with Writer(path), pytest.raises(InvalidRequest, match="running"):
        Writer(path)


def test_many_threads_search_at_once(index):
    def work(_):
        return [found(index, text)[0] for text in ("mistral 7b", "llama 2 7b", "phi-2") * 5]

    with ThreadPoolExecutor(8) as pool:
        results = [name for names in pool.map(work, range(8)) for name in names]
    assert len(results) == 120
    assert len(set(results)) == 3


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 400, b"SQLite format 3\0" + b"\0" * 5000])
def test_a_broken_file_is_a_typed_error(tmp_path, content):
    path = tmp_path / "c.sqlite"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match="cannot be used"):
        Index(path)


def test_an_index_of_another_version_is_refused_and_made_anew(tmp_path):
    path = tmp_path / "c.sqlite"
    written(path, made())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = '0' WHERE name = 'schema'")
    database.close()
    with pytest.raises(InvalidRequest, match="another version"):
        Index(path)
    written(path, made("org/new"))
    with Index(path) as index:
        assert found(index, "new") == ["org/new"]
        assert len(index) == 1


def test_a_broken_unfinished_update_is_begun_again(tmp_path):
    path = tmp_path / "c.sqlite"
    written(path, made())
    path.with_name("c.sqlite.building").write_bytes(b"cut short" * 1000)
    written(path, made("org/new"))
    with Index(path) as index:
        assert len(index) == 2


KILLED = """
import sys
from datetime import date
from pathlib import Path
from openmodels.catalog.sources import hub_records
from openmodels.catalog.index.writer import Writer

with Writer(Path(sys.argv[1])) as writer:
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 4000):
        row = {"id": f"org/llama-{number}", "tags": ["llama"], "downloads": number}
        writer.put(hub_records.build_record(row, date(2026, 11, 1)))
        if number % 40 == 0:
            writer.flush({"note": str(number)})
            print(number, flush=True)
    print("finishing", flush=True)
    writer.finish()
print("done", flush=True)
"""


def test_an_update_killed_at_any_point_leaves_an_index_that_answers(tmp_path):
    path = tmp_path / "c.sqlite"
    written(path, *(made(f"org/mistral-{number}", downloads=number) for number in range(50)))
    for attempt in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(attempt * 4000)], stdout=subprocess.PIPE, text=True
        )
        # From the first batch to the last step of finishing, a little further each time.
        lines = 1 + attempt * 6 if attempt < 17 else 101
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with Index(path) as index:
            assert len(index) >= 50
            assert len(found(index, "mistral")) == 20
            assert index.get("org/mistral-7") is not None
    written(path, made("org/last"))
    with Index(path) as index:
        assert found(index, "last") == ["org/last"]
        assert len(index) > 50
    assert [one.name for one in tmp_path.iterdir()] == ["c.sqlite"]


class TestJoin:
    def azure(self, **fields):
        return ModelRecord.sourced("azure", DAY, {"ids": Ids(hub="org/model", azure="azureml/model"), **fields})

    def test_two_catalogs_make_one_record_in_any_order(self, tmp_path):
        hub = made(likes=3, cardData={"license": "mit"}, pipeline_tag="text-generation")
        azure = self.azure(task="summarization", context_length=8192, deployments=("VM",))
        for name, order in (("a", (hub, azure)), ("b", (azure, hub))):
            path = tmp_path / name
            for record in order:
                written(path, record)
            with Index(path) as index:
                (number,) = index.match("", limit=10)
                joined = index.records([number])[number]
                assert joined.ids == Ids(hub="org/model", azure="azureml/model")
                assert (joined.likes, joined.context_length, joined.deployments) == (3, 8192, ("VM",))
                assert joined.provenance["context_length"].source == "azure"
                assert joined.provenance["likes"].source == "hub"
                assert joined.catalogs == ("hub", "azure")
                (conflict,) = joined.conflicts
                assert (conflict.field, conflict.kept, conflict.other) == ("task", "text-generation", "summarization")

    def test_a_newer_statement_replaces_the_older_of_its_catalog_only(self, tmp_path):
        path = tmp_path / "c.sqlite"
        written(path, made(likes=3), self.azure(context_length=1024))
        written(path, made(likes=5))
        written(path, self.azure(context_length=2048))
        with Index(path) as index:
            record = index.get("org/model")
            assert (record.likes, record.context_length) == (5, 2048)
            assert record.conflicts == ()

    def test_custom_is_no_license(self):
        hub = made(cardData={"license": "apache-2.0"})
        azure = self.azure(license=made(cardData={"license": "custom"}).license)
        assert record_merging.merge(hub, azure).conflicts == ()
        assert record_merging.merge(azure, hub).license.id == "Apache-2.0"

    def test_a_license_that_differs_is_kept_as_a_conflict(self):
        azure = self.azure(license=made(cardData={"license": "mit"}).license)
        merged = record_merging.merge(made(cardData={"license": "llama2"}), azure)
        assert merged.license.id == "llama2"
        assert (merged.conflicts[0].field, merged.conflicts[0].other) == ("license", "MIT")

    @pytest.mark.parametrize(
        "stated",
        ["a/b/c", "mistralai/Mixtral-8x7B-Instruct-v0.1mistral-community/x", "../etc", "a/..", "x", "a b/c", "a/b--c"],
    )
    def test_ids_that_cannot_be_are_not_joined(self, stated):
        hub, remark = azure.hub_id("azureml/model", stated)
        assert hub is None
        assert remark

    def test_names_that_look_alike_are_not_joined(self, tmp_path):
        path = tmp_path / "c.sqlite"
        written(
            path,
            made("openai/gpt-x"),
            ModelRecord.sourced("azure", DAY, {"ids": Ids(azure="HuggingFace/openai-gpt-x")}),
        )
        with Index(path) as index:
            assert len(index) == 2

    def test_aliases_are_in_lower_case_and_hub_ids(self):
        for name, target in (*azure.ALIASES.items(), *azure.LEGACY.items()):
            assert name == name.lower()
            assert HUB_ID.fullmatch(target)


def test_an_index_in_memory_is_an_index():
    index = in_memory([made(tags=["x"])])
    assert json.loads(index.get("org/model").model_dump_json())["tags"] == ["x"]
    assert index.as_of is None
