"""Local models that call tools: the template tells, the parser reads, a demanded call is forced."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import openmodels as om
from openmodels.backends.local import tool_call_format
from openmodels.backends.local.output_processor import AnswerParser, OutputProcessor
from openmodels.backends.local.prompt import prepare
from openmodels.output.tool_formats.brackets import Llama, Mistral
from openmodels.output.tool_formats.channels import Harmony
from openmodels.output.tool_formats.sections import DeepSeekV3, DeepSeekV31, KimiK2
from openmodels.output.tool_formats.tags import Hermes
from openmodels.types.messages import user
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest, ToolSpec

CITY = ToolSpec(
    name="weather",
    description="Look up the weather.",
    parameters={"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]},
)
ADD = ToolSpec(
    name="add",
    parameters={
        "type": "object",
        "properties": {"of": {"$ref": "#/$defs/Pair"}},
        "required": ["of"],
        "$defs": {"Pair": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}},
    },
)
HERMES = "{{ tools }}<tool_call>{{ messages[0].content }}"


def weather(city: str) -> str:
    """Look up the weather.

    Args:
        city: The town.
    """
    return f"{city}: clear"


def tokenizer(template, *special):
    """A tokenizer of bytes with some control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in ("<|end|>", *special)])
    from tokenizers import decoders

    backend.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
    made.chat_template = template
    return made


def answer(tokenizer, request, text):
    """Return the deltas of an answer that comes token by token."""
    config = prepare.PromptConfig(tokenizer, None, 4096)
    prompt = prepare.prepare_prompt(request, tokenizer, 4096)
    output, deltas = OutputProcessor(request, prompt, config, max_new_tokens=4096), []
    for token in (*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id):
        output.add(token)
        deltas.append(output.take_delta() or Delta())
    return deltas


def write(tokenizer, request, text):
    """Return the text, the reasoning and the tool calls of an answer that comes token by token."""
    deltas = answer(tokenizer, request, text)
    calls = [call for delta in deltas for call in delta.tool_calls]
    return "".join(delta.text for delta in deltas), "".join(delta.reasoning for delta in deltas), calls


def request(*tools, **more):
    return ChatRequest(messages=(user("hi"),), tools=tools or (CITY,), **more)


class TestReading:
    def test_markers_that_are_control_tokens_are_seen(self):
        made = tokenizer("{{ tools }}[TOOL_CALLS] [ARGS] {{ messages[0].content }}", "[TOOL_CALLS]", "[ARGS]")
        text, _, calls = write(made, request(), 'Well. [TOOL_CALLS]weather[ARGS]{"city": "Oslo"}')
        assert (text, [(call.name, call.arguments) for call in calls]) == ("Well. ", [("weather", {"city": "Oslo"})])

    def test_reasoning_text_and_calls_are_told_apart(self):
        call = '{"name": "weather", "arguments": {"city": "Oslo"}}'
        said = f"<think>I look.</think>One moment.\n<tool_call>\n{call}\n</tool_call>"
        text, thought, calls = write(tokenizer(HERMES), request(), said)
        assert (text, thought, len(calls)) == ("One moment.", "I look.", 1)

    @pytest.mark.parametrize(
        "raw", ['{"name": "weather", "arguments": {"city": ', '{"name": "weather", oh}\n</tool_call>']
    )
    def test_what_is_malformed_or_cut_is_kept(self, raw):
        _, _, (call,) = write(tokenizer(HERMES), request(), f"<tool_call>{raw}")
        assert (call.name, call.arguments) == ("weather", None)
        assert raw[:12] in call.raw
        assert call.errors

    def test_without_tools_the_marks_are_text(self):
        text, _, calls = write(tokenizer(HERMES), ChatRequest(messages=(user("hi"),)), "<tool_call>{}</tool_call>")
        assert (text, calls) == ("<tool_call>{}</tool_call>", [])

    @pytest.mark.parametrize("text", ["<think>I look.</think>Yes.", "Yes.", "<think>I lo", "<think>a</think>\n\nb"])
    def test_tokens_of_reasoning_count_alike_with_tools_and_without(self, text):
        made = tokenizer(HERMES + "{# </think> #}")
        asked = request(), ChatRequest(messages=(user("hi"),))
        counts = [answer(made, chat, text)[-1].usage.reasoning_tokens for chat in asked]
        is_open = "</think>" not in text  # then the token that ends the answer is of the reasoning
        reasoning = text if is_open else text.partition("</think>")[0] + "</think>"
        expected = len(reasoning) + is_open if text.startswith("<think>") else 0
        assert counts == [expected, expected]

    def test_a_declared_format_is_read_by_transformers(self):
        made = tokenizer("{{ tools }}{{ messages[0].content }}<|assistant|>", "<|assistant|>", "<call>", "</call>")
        made.response_template = {
            "start_anchor": "<|assistant|>",
            "fields": {
                "content": {},
                "tool_calls": {
                    "open": "<call>",
                    "close": "</call>",
                    "repeats": True,
                    "content": "json",
                },
            },
        }
        text, _, calls = write(made, request(), 'Yes.<call>{"name": "weather", "arguments": {"city": "Rome"}}</call>')
        assert (text, [(call.name, call.arguments) for call in calls]) == ("Yes.", [("weather", {"city": "Rome"})])
        _, _, (call,) = write(made, request(), "<call>{oh</call>")
        assert call.arguments is None
        assert "oh" in call.raw


class TestRefusing:
    @pytest.mark.parametrize("template", ["{{ messages[0].content }}", "{{ tools }}{{ messages[0].content }}"])
    def test_a_template_without_tools_or_of_an_unknown_format(self, template):
        with pytest.raises(om.UnsupportedFeature, match="'tools'"):
            prepare.prepare_prompt(request(), tokenizer(template), 4096)

    def test_a_form_beside_tools(self):
        shaped = request(output={"kind": "choices", "choices": ("a", "b")})
        with pytest.raises(om.UnsupportedFeature, match="'choices'"):
            prepare.prepare_prompt(shaped, tokenizer(HERMES), 4096)

    def test_a_demand_that_cannot_be_forced(self):
        made = tokenizer("{{ tools }}<tool_call><arg_key>{{ messages[0].content }}")
        with pytest.raises(om.UnsupportedFeature, match="tool_choice='required'"):
            prepare.prepare_prompt(request(tool_choice="required"), made, 4096)

    def test_one_of_several_names_before_the_json(self):
        made = tokenizer("{{ tools }}[TOOL_CALLS][ARGS]{{ messages[0].content }}")
        with pytest.raises(om.UnsupportedFeature, match="several"):
            prepare.prepare_prompt(request(CITY, ADD, tool_choice="required"), made, 4096)


class TestForcing:
    @pytest.mark.parametrize(
        ("parser", "template"),
        [
            (Hermes, "<tool_call>"),
            (Llama, "<|python_tag|>"),
            (Mistral, "[TOOL_CALLS]"),
            (Mistral, "[TOOL_CALLS][ARGS]"),
            (DeepSeekV3, "<｜tool▁sep｜>\n```json"),
            (DeepSeekV31, "<｜tool▁call▁begin｜>"),
            (KimiK2, "<|tool_call_argument_begin|>"),
            (Harmony, "<|channel|> to=functions"),
        ],
    )
    def test_what_is_forced_is_read_back(self, parser, template):
        made = tokenizer("{{ tools }}{{ messages[0].content }}" + template.replace("{", "{{ '{' }}"))
        plan = tool_call_format.resolve_tool_call_format(request(tool_choice="weather"), made, made.encode("hi"))
        assert type(plan.parser) is parser
        given = {"city": "Oslo"}
        properties = plan.output.json_schema["properties"]
        key = next((key for key in ("arguments", "parameters") if key in properties), None)
        prompt = prepare.PreparedPrompt([], plan.output, plan)
        answer_parser = AnswerParser(request(), prompt, made)
        body = json.dumps(given if key is None else {"name": "weather", key: given})
        (call,) = answer_parser.feed(body, None, last=True, complete=True).calls
        assert (call.name, call.arguments) == ("weather", given)

    def test_open_reasoning_is_left_first(self):
        made = tokenizer(HERMES + "<think>\n")
        plan = tool_call_format.resolve_tool_call_format(
            request(tool_choice="weather"), made, made.encode("hi<think>\n")
        )
        assert plan.start.startswith("</think>")

    def test_one_of_several_with_shared_definitions(self, calling_smol):
        with torch.random.fork_rng():
            for seed in range(6):
                reply = calling_smol.chat("Add.", tools=[CITY, ADD], tool_choice="required", temperature=2.0, seed=seed)
                (call,) = reply.tool_calls
                assert call.errors == ()
                assert reply.finish_reason == "tool_calls"
                assert reply.text == ""

    def test_a_cut_call_is_no_call(self, calling_smol):
        with pytest.raises(om.OutputInvalid, match="cut off") as caught:
            calling_smol.chat("Oslo?", tools=[weather], tool_choice="weather", max_tokens=4)
        (call,) = caught.value.reply.tool_calls
        assert call.arguments is None
        assert call.errors


class TestRunning:
    def test_the_model_is_told_of_tools_and_results(self, calling_smol):
        run = calling_smol.run_tools(
            "What is the weather in Oslo?", [weather], tool_choice="weather", temperature=0, max_tokens=48
        )
        first, *_, last = run.rounds
        assert first.results[0].message.text == f"{first.reply.tool_calls[0].arguments['city']}: clear"
        assert last.reply.text
        loaded = calling_smol.backend._engine.loaded
        request = ChatRequest(messages=run.messages[:3], tools=(om.tool(weather).spec,))
        text = loaded.tokenizer.decode(prepare.prepare_prompt(request, loaded.tokenizer, loaded.context).tokens)
        assert '"description": "Look up the weather."' in text
        assert "<tool_response>\n" in text

    def test_a_model_without_such_a_template_says_so(self, exact_smol):
        assert exact_smol.capabilities.tools is False
        with pytest.raises(om.UnsupportedFeature, match="chat template"):
            exact_smol.chat("hi", tools=[weather])


@pytest.fixture(params=["openvino", "llamacpp"])
def engine(request, monkeypatch, hermes):
    """The default model in another engine, told a chat template that knows tools."""
    model = request.getfixturevalue(f"{request.param}_smol")
    engine = model.backend._engine
    prompt_config = engine._model.prompt_config if request.param == "openvino" else engine.prompt_config
    monkeypatch.setattr(prompt_config.tokenizer, "chat_template", hermes)
    return model


class TestEngines:
    @pytest.mark.parametrize("choice", ["required", "weather"])
    def test_a_demanded_call_comes(self, engine, choice):
        tools = [CITY, ADD] if choice == "required" else [CITY]
        with engine.stream("Oslo?", tools=tools, tool_choice=choice, temperature=0, max_tokens=48) as stream:
            calls = [call for delta in stream for call in delta.tool_calls]
        (call,) = calls
        assert call.errors == ()
        assert (stream.reply.finish_reason, stream.reply.text) == ("tool_calls", "")

    def test_a_cut_call_is_no_call(self, engine):
        with pytest.raises(om.OutputInvalid, match="cut off"):
            engine.chat("Oslo?", tools=[weather], tool_choice="weather", max_tokens=4)

    def test_a_free_choice_is_read(self, engine):
        reply = engine.chat("Hello.", tools=[weather], temperature=0, max_tokens=12)
        assert reply.text or reply.tool_calls
