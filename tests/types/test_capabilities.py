"""What is known of a model before it is asked."""

from __future__ import annotations

import json

import pytest

import openmodels as om
from openmodels.types.capabilities import Capabilities, declared_capabilities


def test_declarations_are_capabilities():
    found = declared_capabilities({"chat", "rerank"}, {"tools", "seed"})
    assert (found.chat, found.rerank, found.tools, found.seed) == (True, True, True, True)
    assert (found.complete, found.embed, found.images, found.schema, found.n) == (False,) * 5
    assert found.context is None
    assert found.options == {"tools", "seed"}


def test_they_print_as_a_list_and_a_table():
    found = Capabilities(chat=True, tools=False, context=8192, options=frozenset({"<b>", "n"}))
    lines = dict(line.split(None, 1) for line in repr(found).splitlines())
    assert lines["chat"] == "yes"
    assert lines["tools"] == "no"
    assert lines["embed"] == "not known"
    assert lines["context"] == "8,192 tokens"
    assert "<td>yes</td>" in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()


def test_they_cannot_be_changed():
    with pytest.raises(AttributeError):
        om.Model("echo:").capabilities.chat = False


def test_the_servers_are_not_asked():
    model = om.Model("server:x", base_url="http://127.0.0.1:9/v1")
    assert model.capabilities.chat
    assert model.capabilities.logprobs
    assert om.Model("hf:org/model").capabilities.complete is False


@pytest.mark.weights
class TestLocal:
    @staticmethod
    def folder(path, config, template):
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config))
        (path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} if template else {}))
        return om.Model(f"local:{path}")

    @pytest.mark.parametrize(
        ("config", "context"),
        [
            ({"max_position_embeddings": 4096}, 4096),
            ({"n_positions": 1024}, 1024),
            ({"text_config": {"max_position_embeddings": 77}}, 77),
            ({"max_position_embeddings": "many"}, None),
            ({}, None),
        ],
    )
    def test_the_context_is_in_the_files(self, tmp_path, config, context):
        assert self.folder(tmp_path / "m", config, "{{ messages }}").capabilities.context == context

    def test_the_template_says_whether_it_chats(self, tmp_path):
        base = self.folder(tmp_path / "base", {"architectures": ["LlamaForCausalLM"]}, None).capabilities
        chat = self.folder(tmp_path / "chat", {}, "{{ messages }}").capabilities
        several = self.folder(tmp_path / "s", {}, [{"name": "default", "template": "{{ messages }}"}]).capabilities
        assert (base.chat, base.complete, base.tools) == (False, True, False)
        assert (base.embed, base.rerank, base.images) == (False, False, False)
        assert (chat.chat, several.chat) == (True, True)
        model = self.folder(tmp_path / "jinja", {}, None)
        (tmp_path / "jinja" / "chat_template.jinja").write_text("{% if tools %}<tool_call>{% endif %}")
        assert model.capabilities.chat
        assert model.capabilities.tools
        no_tools = self.folder(tmp_path / "none", {}, "{{ messages }}")
        assert no_tools.capabilities.tools is False

    def test_a_gguf_file_says_so_too(self, tmp_path):
        from backends.local.tiny import tiny_gguf

        found = om.Model(f"local:{tiny_gguf(tmp_path / 'tiny.gguf')}").capabilities
        assert (found.chat, found.context) == (True, 512)

    def test_what_is_not_here_is_not_known(self, tmp_path, monkeypatch):
        monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path))
        for reference in ("local:org/never-heard-of", f"local:{tmp_path}/nothing", f"local:{tmp_path}"):
            found = om.Model(reference).capabilities
            assert (found.chat, found.context) == (None, None)
            assert found.complete

    def test_nothing_is_loaded(self, smol):
        model = om.Model(om.DEFAULT_MODEL)
        assert (model.capabilities.chat, model.capabilities.context) == (True, 8192)
        assert model.backend._engine is None
