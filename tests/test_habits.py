"""What people write by habit: it works where its meaning is clear, and is answered by name where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

import openmodels as om
from openmodels.catalog.family import Family
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.catalog.search.results import Results
from openmodels.types.rankings import RankedDocument, Ranking


@pytest.fixture
def reply():
    return om.Reply(text="Oslo is the capital.", finish_reason="stop")


@pytest.fixture
def record():
    return ModelRecord(ids=Ids(hub="allenai/OLMo-7B"), task="text-generation")


class TestReply:
    def test_in_looks_into_the_text(self, reply):
        assert "Oslo" in reply
        assert "Bergen" not in reply

    def test_equals_its_text_and_its_like(self, reply):
        assert reply == "Oslo is the capital."
        assert reply != "Oslo"
        assert reply == reply.model_copy()
        assert reply != reply.model_copy(update={"finish_reason": "length"})
        assert {reply: 1}["Oslo is the capital."] == 1

    def test_prints_its_text(self, reply):
        assert f"{reply}" == str(reply) == "Oslo is the capital."
        assert str(om.Delta(text="Os")) == "Os"

    def test_a_message_is_looked_into(self):
        assert "weather" in om.user("How is the weather?")


class TestRecords:
    def test_results_hold_an_id_whatever_its_case(self, record):
        results = Results([record], notes=["from a test"])
        assert "allenai/olmo-7b" in results
        assert record in results
        assert "allenai/OLMo-1B" not in results

    def test_results_print_a_table_and_their_notes(self, record):
        head, line, note = str(Results([record], notes=["from a test"])).splitlines()
        assert head.startswith("model")
        assert line.startswith("allenai/OLMo-7B  text-generation")
        assert note == "from a test"
        assert repr(Results([record])) == "Results(['allenai/OLMo-7B'], total=1)"

    def test_a_record_equals_its_id_and_has_a_hash(self, record):
        assert record == "allenai/OLMo-7B"
        assert record != "allenai/OLMo-1B"
        assert {record, record.model_copy()} == {record}
        assert str(record) == "allenai/OLMo-7B, text-generation"

    def test_in_a_record_is_refused_and_not_always_false(self, record):
        with pytest.raises(TypeError):
            "OLMo" in record  # noqa: B015

    def test_a_family_holds_ids(self):
        family = Family("a/b")
        family.models["c/d"] = None
        assert "A/B" in family
        assert "c/d" in family
        assert "e/f" not in family

    def test_a_ranking_holds_documents(self):
        ranking = Ranking((RankedDocument(1, 0.5, "cats"),))
        assert "cats" in ranking
        assert "dogs" not in ranking
        assert str(ranking) == "   0.500  cats"


class TestModel:
    def test_takes_a_path(self, tmp_path):
        assert om.Model(tmp_path).reference == f"local:{tmp_path}"
        assert om.Model(Path("model.gguf")).reference == "local:model.gguf"

    def test_takes_a_record_on_this_disk(self, record, tmp_path):
        assert om.Model(record.model_copy(update={"local": str(tmp_path)})).reference == f"local:{tmp_path}"

    def test_asks_where_another_record_is_to_run(self, record):
        with pytest.raises(om.InvalidReference, match=r"'local:allenai/OLMo-7B'.*'hf:allenai/OLMo-7B'"):
            om.Model(record)

    @pytest.mark.parametrize(("name", "port"), [("ollama", 11434), ("vllm", 8000), ("LMStudio", 1234)])
    def test_names_the_server_that_is_meant(self, name, port):
        with pytest.raises(om.InvalidReference, match=f"'server:NAME', base_url='http://127.0.0.1:{port}/v1'"):
            om.Model(f"{name}:llama3")

    def test_a_plugin_may_have_such_a_name(self, monkeypatch):
        from openmodels.backends import registry
        from openmodels.backends.echo import EchoBackend

        monkeypatch.setitem(registry._registered, "ollama", EchoBackend)
        assert om.Model("ollama:x").chat("hello") == "hello"

    def test_a_conversation_takes_a_reference(self):
        talk = om.Conversation("echo:")
        assert talk.send("hello") == "hello"
        talk.model = "echo:other"
        assert talk.model.reference == "echo:other"

    @pytest.mark.parametrize(
        ("option", "advice"),
        [
            ({"stream": True}, "model.stream"),
            ({"system": "Be brief."}, "om.system"),
            ({"model": "gpt"}, "om.Model"),
            ({"response_format": {"type": "json_object"}}, "`schema`"),
            ({"max_new_tokens": 5}, "`max_tokens`"),
            ({"temprature": 0}, "'temperature'"),
        ],
    )
    def test_an_option_of_another_package_is_answered_by_name(self, option, advice):
        with pytest.raises(om.UnsupportedFeature, match=advice):
            om.Model("echo:").chat("hello", **option)


class TestAttributesOfOtherPackages:
    @pytest.mark.parametrize("name", ["content", "choices", "output_text"])
    def test_a_reply_names_its_text(self, name):
        reply = om.Model("echo:").chat("hello")
        with pytest.raises(AttributeError, match=r"`reply\.text`"):
            getattr(reply, name)
        assert not hasattr(reply, name)

    @pytest.mark.parametrize("name", ["ask", "generate", "invoke"])
    def test_a_model_names_its_calls(self, name):
        with pytest.raises(AttributeError, match=r"model\.chat"):
            getattr(om.Model("echo:"), name)

    @pytest.mark.parametrize("name", ["text", "content", "choices"])
    def test_a_stream_names_its_reply(self, name):
        model = om.Model("echo:")
        for stream in (model.stream("hello"), model.astream("hello")):
            with pytest.raises(AttributeError, match=r"`stream\.reply\.text`"):
                getattr(stream, name)

    def test_other_names_get_no_advice(self):
        model = om.Model("echo:")
        for thing in (model, model.chat("hello"), model.stream("hello"), model.astream("hello")):
            with pytest.raises(AttributeError, match=r"no attribute 'quite_unlike'\.?$"):
                thing.quite_unlike  # noqa: B018

    def test_in_does_not_read_a_stream(self):
        model = om.Model("echo:")
        stream = model.stream("hello")
        with pytest.raises(TypeError, match=r"`stream\.reply`"):
            assert "hello" in stream
        assert repr(stream) == "<Stream of echo:, not read to its end>"
        assert "".join(delta.text for delta in stream) == "hello"
        assert "hello" in stream.reply
        assert repr(stream) == "<Stream of echo:, read to its end>"
        with pytest.raises(TypeError, match="AsyncStream"):
            assert "hello" in model.astream("hello")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("chat", r"\.chat\(…\)"),
        ("generate", r"\.complete\(…\)"),
        ("OpenAI", r"om\.Model\("),
        ("list_models", r"om\.search\("),
        ("Modle", "'Model'"),
        ("quite_unlike_anything", r"no attribute 'quite_unlike_anything'\.$"),
    ],
)
def test_a_name_of_another_package_is_answered(name, advice):
    with pytest.raises(AttributeError, match=advice):
        getattr(om, name)
