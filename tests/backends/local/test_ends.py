"""What ends a local answer: stop strings that are control tokens, and the token that closes the turn."""

from __future__ import annotations

import itertools

import pytest
import torch
from tiny import CHATML, tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

import openmodels as om
from openmodels.backends.local.engine_protocol import EngineConfig
from openmodels.backends.local.prompt.prepare import PromptConfig, prepare_request
from openmodels.backends.local.runtime import RUNTIME
from openmodels.errors import UnsupportedFeature
from openmodels.types.messages import user
from openmodels.types.request import ChatRequest

ENDOFTEXT, START, END = 256, 257, 258
NAMES = {START: "<|im_start|>", END: "<|im_end|>"}


def ids(text):
    return tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]


@pytest.fixture
def scripted(tmp_path):
    """Return what writes a folder whose model says a sequence: each token follows from the one before."""

    def write(sequence, *, end=END, template=CHATML):
        tokenizer = tiny_tokenizer(template)
        size = len(tokenizer)
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=size,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            eos_token_id=end,
            bos_token_id=START,
            pad_token_id=ENDOFTEXT,
        )
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for weights in model.parameters():
                weights.zero_()
            model.model.embed_tokens.weight.copy_(torch.eye(size))
            for norm in (model.model.norm, *(layer.input_layernorm for layer in model.model.layers)):
                norm.weight.fill_(1)
            for before, after in itertools.pairwise(sequence):
                model.lm_head.weight[after, before] = 10
        model.generation_config.eos_token_id = end
        model.save_pretrained(tmp_path)
        tokenizer.eos_token = tokenizer.decode([end])
        tokenizer.save_pretrained(tmp_path)
        return om.Model(f"local:{tmp_path}", dtype="float32")

    return write


SAID = [*ids("\n"), *ids("ab c"), START, *ids("def"), END]
"""After the prompt's last line break: "ab c", a control token, "def"."""


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (["<|im_start|>"], "ab c"),
        (["im_sta"], "ab c"),
        (["c<|im_start|>d"], "ab "),
        (["<|im_start|>de"], "ab c"),
        (["b ", "<|im_start|>"], "a"),
        (["<|im_start|>x"], "ab cdef"),
        (["<|im_end|>"], "ab cdef"),
        ([], "ab cdef"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_may_be_or_hold_a_control_token(scripted, stop, text, streamed):
    with scripted(SAID) as model:
        if streamed:
            with model.stream("x", stop=stop, temperature=0, max_tokens=20) as stream:
                assert "".join(delta.text for delta in stream) == text
            reply = stream.reply
        else:
            reply = model.chat("x", stop=stop, temperature=0, max_tokens=20)
    assert (reply.text, reply.finish_reason) == (text, "stop")


def test_the_token_that_closes_the_turn_ends_the_answer(scripted):
    with scripted([*ids("\n"), *ids("ab"), END, *ids("cd"), ENDOFTEXT], end=ENDOFTEXT) as model:
        reply = model.chat("x", temperature=0, max_tokens=20)
    assert (reply.text, reply.finish_reason, reply.usage.output_tokens) == ("ab", "stop", 3)


@pytest.mark.parametrize("engine", ["llamacpp", "vllm"])
def test_servers_get_the_control_tokens_that_end_an_answer(engine):
    from transformers import GenerationConfig

    served = RUNTIME.engines[engine].make(EngineConfig("m"))
    own = GenerationConfig(eos_token_id=ENDOFTEXT, stop_strings="!", min_p=0.1, do_sample=True, suppress_tokens=[5])
    served.prompt_config = PromptConfig(tiny_tokenizer(), own, 512)

    def body_of(**options):
        request = ChatRequest(messages=(user("x"),), **options)
        return served.body(request, prepare_request(request, served.prompt_config, allow_extra=True))

    body = body_of(stop=("<|im_start|>",), max_tokens=4)
    assert set(body["stop"]) == {"<|im_start|>", "<|im_end|>", "!"}
    assert body["min_p"] == 0.1
    if engine == "llamacpp":
        assert set(body["preserved_tokens"]) == {"<|im_start|>", "<|im_end|>"}
        assert body["logit_bias"] == [[5, False]]
    else:
        assert set(body["stop_token_ids"]) == {ENDOFTEXT, START, END}
        assert body["logit_bias"] == {"5": -100}
    with pytest.raises(UnsupportedFeature, match="within a longer text"):
        body_of(stop=("\n<|im_start|>",))
