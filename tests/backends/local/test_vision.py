"""Local models that read images: a tiny vision-language model, made from its config on the spot."""

from __future__ import annotations

import asyncio
from io import BytesIO

import pytest
from PIL import Image as Pil
from tiny import save_random
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

import openmodels as om
from openmodels.testing.images import ImageTests

TEMPLATE = """{% if tools %}{{ tools }}<tool_call>{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}
{%- if part.type == "image" %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
SIZE = {"height": 16, "width": 16}
PATCHES = 5


def picture(colour, mode="RGB"):
    return Pil.new(mode, (20, 24), colour)


def encoded(image, kind="PNG"):
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    marks = ("<|im_start|>", "<|im_end|>", "<image>")
    backend.add_special_tokens([AddedToken(mark, normalized=False) for mark in marks])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")
    sees = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    says = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
    )
    config = LlavaConfig(
        vision_config=sees,
        text_config=says,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    save_random(LlavaForConditionalGeneration(config), folder)
    LlavaProcessor(
        CLIPImageProcessorPil(size=SIZE, crop_size=SIZE),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def seeing(folder):
    with om.Model(f"local:{folder}", dtype="float32") as model:
        yield model.load()


def ask(model, *content, **options):
    return model.chat([om.user(*content)], temperature=0, max_tokens=12, **options)


def test_images_reach_the_model(seeing):
    red, blue = (ask(seeing, "What?", om.Image(picture(colour)), logprobs=0) for colour in ("red", "blue"))
    assert red.logprobs != blue.logprobs
    assert red.usage.input_tokens == ask(seeing, "What?").usage.input_tokens + PATCHES
    assert seeing.capabilities.images is True
    assert "images" in seeing.backend.describe()["alone"]


def test_the_answer_is_transformers_own(seeing):
    loaded = seeing.backend._engine.loaded
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "What?"}, {"type": "image", "image": picture("red")}]}
    ]
    inputs = loaded.processor.apply_chat_template(
        turns, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    made = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert ask(seeing, "What?", om.Image(picture("red"))).text == loaded.tokenizer.decode(
        made, skip_special_tokens=True
    )


def test_any_source_gives_the_same(seeing, tmp_path):
    data = encoded(picture("red"))
    (tmp_path / "red.png").write_bytes(data)
    part = om.Image(data)
    spelled = {
        "role": "user",
        "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": part.address}}],
    }
    texts = {ask(seeing, "x", om.Image(one)).text for one in (tmp_path / "red.png", str(tmp_path / "red.png"), data)}
    texts |= {ask(seeing, "x", om.Image(part.address)).text, seeing.chat([spelled], temperature=0, max_tokens=12).text}
    assert len(texts) == 1


def test_several_images_keep_their_order(seeing):
    red, blue = om.Image(picture("red")), om.Image(picture("blue"))
    one, other = ask(seeing, "a", red, "b", blue, logprobs=0), ask(seeing, "a", blue, "b", red, logprobs=0)
    assert one.logprobs != other.logprobs
    assert one.usage.input_tokens == other.usage.input_tokens


def test_a_user_cannot_write_an_image(seeing):
    plain = ask(seeing, "What? <image>", om.Image(picture("red")))
    assert plain.usage.input_tokens == ask(seeing, "What? ", om.Image(picture("red"))).usage.input_tokens + len(
        "<image>"
    )


def test_long_prompts_and_later_turns(seeing):
    talk = om.Conversation(seeing)
    talk.send(om.user("long " * 150, om.Image(picture("red"))), temperature=0, max_tokens=4)
    second = talk.send("And?", temperature=0, max_tokens=4)
    assert second.usage.input_tokens > 750 + PATCHES


def test_form_and_tools_go_with_images(seeing):
    image = om.Image(picture("red"))
    assert ask(seeing, "x", image, choices=["red", "blue"]).parsed in {"red", "blue"}

    def name(colour: bool) -> str:
        """Name it."""
        return str(colour)

    reply = seeing.chat([om.user("x", image)], tools=[name], tool_choice="name", temperature=0, max_tokens=60)
    assert reply.tool_calls[0].errors == ()


def test_calls_at_once_do_not_meet(seeing):
    prompts = [[om.user("x", om.Image(picture(colour)))] for colour in ("red", "blue", "green", "red")]
    alone = [seeing.chat(prompt, temperature=0, max_tokens=6).text for prompt in prompts]

    async def all_of_them():
        return await asyncio.gather(*(seeing.achat(prompt, temperature=0, max_tokens=6) for prompt in prompts))

    assert [reply.text for reply in asyncio.run(all_of_them())] == alone


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"\x89PNG\r\n\x1a\nbroken", "cannot be read"),
        (encoded(picture("red"))[:60], "cannot be read"),
        ("https://example.com/x.png", "not fetched"),
        (encoded(Pil.new("1", (8000, 7000))), "million pixels"),
    ],
)
def test_what_cannot_be_read_is_refused(seeing, image, said):
    with pytest.raises(om.InvalidRequest, match=said):
        ask(seeing, "x", om.Image(image))


class TestSeeing(ImageTests):
    @pytest.fixture
    def model(self, seeing):
        return seeing


def test_a_model_of_text_alone_says_so(exact_smol):
    assert exact_smol.capabilities.images is False
    with pytest.raises(om.UnsupportedFeature, match="'images'"):
        ask(exact_smol, "x", om.Image(picture("red")))
