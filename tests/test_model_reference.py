"""Model references: any text gives a reference or an error that helps."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from openmodels.errors import InvalidReference
from openmodels.model_reference import HubId, Reference, is_backend_name, parse, parse_hub_id, unknown_backend

KNOWN = ("echo", "hf", "local", "server")
REF_LIKE = st.text(alphabet=st.sampled_from("abzAZ019:/@.\\-_~ \t\x00é\ud800"), max_size=30)


@given(st.one_of(st.text(alphabet=st.characters(codec=None, exclude_categories=())), REF_LIKE))
@example("local:")
@example(":")
@example("hf://org/model")
def test_parse_gives_a_reference_or_invalid_reference(text):
    try:
        reference = parse(text, KNOWN)
    except InvalidReference as error:
        assert error.cause.endswith(".")
    else:
        assert is_backend_name(reference.backend)
        assert parse(str(reference), KNOWN) == reference


@given(st.one_of(st.text(alphabet=st.characters(codec=None, exclude_categories=())), REF_LIKE))
@example("a/b@../../x")
@example("a/b/../c")
def test_hub_id_reads_or_refuses_and_never_leaves_the_cache(text):
    try:
        read = parse_hub_id(text)
    except InvalidReference:
        return
    for part in (read.repo, read.revision or "main", read.file or "file"):
        assert ".." not in part.split("/")
        assert not part.startswith("/")
        assert "\\" not in part
        assert part == part.strip()


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: name != "..")


@given(
    org=NAMES,
    name=NAMES,
    file=st.none() | st.just("sub/model.gguf"),
    revision=st.none() | st.sampled_from(["main", "v1.0", "refs/pr/1", "0123abc"]),
    suffix=st.none() | st.sampled_from(["together", "fastest", "cheapest", "fireworks-ai"]),
)
def test_hub_id_reads_what_its_parts_say(org, name, file, revision, suffix):
    text = f"{org}/{name}" + (f"/{file}" if file else "")
    text += (f"@{revision}" if revision else "") + (f":{suffix}" if suffix else "")
    assert parse_hub_id(text) == HubId(f"{org}/{name}", revision, suffix, file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local:HuggingFaceTB/SmolLM2-135M-Instruct", Reference("local", "HuggingFaceTB/SmolLM2-135M-Instruct")),
        ("local:./my-model", Reference("local", "./my-model")),
        ("local:C:\\models\\x.gguf", Reference("local", "C:\\models\\x.gguf")),
        ("local:/models/a b.gguf", Reference("local", "/models/a b.gguf")),
        ("hf:org/model@main:together", Reference("hf", "org/model@main:together")),
        ("hf:org/model:fastest", Reference("hf", "org/model:fastest")),
        ("  echo: ", Reference("echo", "")),
        ("plugin-7:x", Reference("plugin-7", "x")),
    ],
)
def test_parse_splits_at_the_first_colon(text, expected):
    assert parse(text, KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("org/model", "'local:org/model' (run it on this machine)"),
        ("org/model:fastest", "'hf:org/model:fastest' (Hugging Face's servers)"),
        ("hf://org/model", "local:org/model"),
        ("https://host/v1", "base_url="),
        ("C:\\m\\x", "'local:C:"),
        ("C:/m/x", "'local:C:"),
        ("./folder", "'local:./folder'"),
        ("/models/x.gguf", "'local:/models/x.gguf'"),
        ("~/x", "local:~/x"),
        ("locla", "Did you mean 'local:'?"),
        ("gpt-4o", "local:gpt-4o"),
        ("", "BACKEND:MODEL"),
        (":x", "Known backends"),
        ("two words:x", "Known backends"),
    ],
)
def test_refusal_shows_what_could_be_meant(text, hint):
    with pytest.raises(InvalidReference) as caught:
        parse(text, KNOWN)
    assert hint in str(caught.value)


@pytest.mark.parametrize("thing", [None, 5, b"local:x", ["local:x"]])
def test_reference_must_be_text(thing):
    with pytest.raises(InvalidReference, match=type(thing).__name__):
        parse(thing, KNOWN)


@pytest.mark.parametrize("text", ["local:a\nb", "local:\x00", "local:\ud800", "lo\x1bcal:x"])
def test_characters_that_cannot_be_meant(text):
    with pytest.raises(InvalidReference, match="control character"):
        parse(text, KNOWN)


@pytest.mark.parametrize("text", ["", "model", "org/", "/model", "org/model@", "org/model:", "org/model/", "a/b:x@y"])
def test_no_hub_id(text):
    with pytest.raises(InvalidReference, match="no model id"):
        parse_hub_id(text)


def test_unknown_backend_suggests_the_nearest():
    assert "Did you mean 'local'?" in str(unknown_backend("Locale", KNOWN))
    assert "Did you mean" not in str(unknown_backend("zzz", KNOWN))
    assert "echo, hf, local, server" in str(unknown_backend("zzz", KNOWN))
