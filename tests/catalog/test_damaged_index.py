"""An index that is damaged, or made by somebody who means harm: one typed error, in time, and an update mends it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

import pytest

import openmodels as om
from openmodels.catalog.index.codec import today
from openmodels.catalog.index.reader import Index, default_path
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.sources import hub_records


@pytest.fixture
def index_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    fill(default_path())
    return default_path()


def fill(path):
    listed = [{"id": f"acme/gecko-{n}b", "tags": ["license:mit"], "downloads": n} for n in range(1, 200)]
    with Writer(path) as writer:
        writer.put_all([hub_records.build_record(row, today()) for row in listed])
        writer.flush({"hub.as_of": today().isoformat()})
        writer.finish()
    return writer


def statements(*queries):
    def change(path):
        with closing(sqlite3.connect(path)) as db:
            for query in queries:
                db.execute(query)
            db.commit()

    return change


def zeros(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\0" * (size // 2))


ENDLESS = (
    "AS WITH RECURSIVE r(number, text) AS (SELECT 1, 'tag:x' UNION ALL SELECT number, text FROM r) SELECT * FROM r"
)
CHANGES = {
    "view": statements("ALTER TABLE terms RENAME TO kept", f"CREATE VIEW terms {ENDLESS}"),
    "trigger": statements(
        "CREATE TRIGGER t AFTER INSERT ON models BEGIN INSERT INTO terms(text) VALUES (hex(randomblob(9))); END"
    ),
    "zeros": zeros,
    "text": lambda path: path.write_text("not a database " * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "other version": statements("UPDATE meta SET value = '1' WHERE name = 'schema'"),
    "day": statements("UPDATE meta SET value = '2026-13-45' WHERE name = 'hub.as_of'"),
    "count": statements("UPDATE meta SET value = x'00' WHERE name = 'models'"),
    "types": statements("UPDATE models SET downloads = 'many'"),
    "negative": statements("UPDATE models SET parameters = -5"),
    "days": statements("UPDATE models SET updated = 99999999999"),
    "terms": statements("UPDATE models SET terms = zeroblob(0) || x'" + "ff" * 500 + "'"),
    "missing terms": statements("DELETE FROM terms"),
    "deep": statements("UPDATE models SET rest = '" + "[" * 100_000 + "'"),
    "prices": statements('UPDATE models SET rest = \'{"offers": [{"price_out": "dear"}]}\''),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_question_ends_in_one_typed_error(index_file, name):
    CHANGES[name](index_file)
    began = time.monotonic()
    answers = 0
    for ask in (
        lambda: om.search("gecko chat", live=False, sort="price"),
        lambda: om.search("gekco", live=False).facets("license"),
        lambda: om.search("", live=False, updated_after="2020-01-01").total,
        lambda: om.info("acme/gecko-7b", live=False),
        lambda: om.family("acme/gecko-7b", live=False),
    ):
        try:
            ask()
            answers += 1
        except om.ModelNotFound:
            answers += 1
        except om.InvalidRequest as error:
            assert str(index_file) in error.cause
            assert "openmodels catalog update" in error.next_step
    assert answers < 5
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("name", ["view", "trigger", "zeros", "text", "empty", "other version"])
def test_an_update_makes_it_anew_and_says_so(index_file, name):
    CHANGES[name](index_file)
    writer = fill(index_file)
    assert writer.discarded or name == "empty"
    with Index(index_file) as index:
        assert len(index) == 199
        assert index.get("acme/gecko-7b").license.id == "MIT"


def test_a_query_that_does_not_end_is_ended(index_file):
    with Index(index_file) as index, pytest.raises(om.InvalidRequest, match="does not end"):
        index.query("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT count(*) FROM r", seconds=0.2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_pipe_in_its_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(om.InvalidRequest, match="not a plain file"):
        Index(tmp_path / "pipe")
