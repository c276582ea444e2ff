"""`embed` on `local`: pooling as the folder says, prompts, limits, deadlines, cancelling, forks."""

import asyncio
import json
import multiprocessing
import shutil
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import save_random, tiny_llama, tiny_tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5EncoderModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

import openmodels as om
from openmodels.backends.local.encoders import embedder, encoder, pooling
from openmodels.testing import wait_until


def tiny_encoder(folder, *, modules=(), sentences=None, prompts=None, kind=BertModel, **config):
    """Write a random BERT of width 16 with what sentence-transformers would put beside it."""
    tokenizer = tiny_tokenizer(None)
    if kind is BertModel:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        made = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **(sizes | config))
    else:
        made = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, **config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(made).save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    listed = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    for at, (name, settings) in enumerate(modules, 1):
        listed.append({"type": f"sentence_transformers.models.{name}", "path": f"{at}_{name}"})
        (folder / f"{at}_{name}").mkdir()
        (folder / f"{at}_{name}" / "config.json").write_text(json.dumps(settings))
    if modules:
        (folder / "modules.json").write_text(json.dumps(listed))
    if sentences:
        (folder / "sentence_bert_config.json").write_text(json.dumps(sentences))
    if prompts:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def states(folder, text):
    """The encoder's vectors of a text's tokens, straight from transformers."""
    ids = tiny_tokenizer(None)(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return BertModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]


def vector(model, text, **options):
    return torch.from_numpy(model.embed(text, **options).vectors[0])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("plain"))


MODES = {
    "cls": lambda rows: rows[0],
    "lasttoken": lambda rows: rows[-1],
    "max": lambda rows: rows.max(0).values,
    "mean": lambda rows: rows.mean(0),
    "mean_sqrt_len_tokens": lambda rows: rows.sum(0) / len(rows) ** 0.5,
    "weightedmean": lambda rows: (rows * torch.arange(1, len(rows) + 1)[:, None]).sum(0) / sum(range(len(rows) + 1)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_pooling_is_as_defined_whatever_the_padding(mode, padding):
    torch.manual_seed(0)
    rows = torch.randn(5, 4)
    padded, mask = torch.full((2, 8, 4), 7.0), torch.zeros(2, 8, dtype=torch.int64)
    padded[1], mask[1] = 1.0, 1
    place = slice(3, 8) if padding == "left" else slice(0, 5)
    padded[0, place], mask[0, place] = rows, 1
    found = pooling.PoolingHead((mode,))(padded, mask, 0)[0]
    torch.testing.assert_close(found, MODES[mode](rows))
    without = pooling.PoolingHead((mode,), include_prompt=False)(padded, mask, 2)[0]
    if mode == "weightedmean":
        weights = torch.arange(3, 6)[:, None]
        torch.testing.assert_close(without, (rows[2:] * weights).sum(0) / weights.sum())
    else:
        torch.testing.assert_close(without, MODES[mode](rows[2:]))


def test_a_plain_encoder_gives_the_mean_of_its_tokens(plain):
    with om.Model(f"local:{plain}") as model:
        texts = ["a", "some more text", "x" * 60]
        found = model.embed(texts)
        assert found.usage.input_tokens == sum(map(len, texts))
        assert found.model == str(plain)
        for text, row in zip(texts, found.vectors, strict=True):
            torch.testing.assert_close(torch.from_numpy(row), states(plain, text).mean(0), rtol=1e-5, atol=1e-5)


def test_the_order_of_the_texts_is_kept_over_many_batches(plain):
    texts = [chr(97 + at % 26) * (1 + at * 7 % 50) for at in range(3 * encoder.BATCH + 5)]
    with om.Model(f"local:{plain}") as model:
        together = model.embed(texts).vectors
        alone = np.concatenate([model.embed(text).vectors for text in texts[::9]])
    np.testing.assert_allclose(together[::9], alone, atol=1e-5)


def test_every_module_is_applied_in_order(tmp_path):
    pool = {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_lasttoken": True}
    dense = {"in_features": 32, "out_features": 3, "activation_function": "torch.nn.modules.activation.Tanh"}
    folder = tiny_encoder(tmp_path, modules=[("Pooling", pool), ("Dense", dense), ("Normalize", {})])
    weights = {"linear.weight": torch.randn(3, 32), "linear.bias": torch.randn(3)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")
    rows = states(folder, "hello")
    wanted = torch.tanh(weights["linear.weight"] @ torch.cat([rows[0], rows[-1]]) + weights["linear.bias"])
    with om.Model(f"local:{folder}") as model:
        torch.testing.assert_close(vector(model, "hello"), wanted / wanted.norm(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ([("Pooling", {"pooling_mode": "attention"})], "pooling 'attention'"),
        ([("LSTM", {})], "lists a 'LSTM'"),
        ([("Pooling", {}), ("Dense", {"activation_function": "evil.Payload"})], "no plain dense layer"),
        ([("Pooling", {}), ("Dense", {"use_residual": True})], "no plain dense layer"),
    ],
)
def test_modules_it_does_not_have_are_refused(tmp_path, modules, says):
    with (
        om.Model(f"local:{tiny_encoder(tmp_path, modules=modules)}") as model,
        pytest.raises(om.UnsupportedFeature, match=says),
    ):
        model.embed("x")


def test_a_dense_layer_in_a_pickle_is_refused(tmp_path):
    folder = tiny_encoder(tmp_path, modules=[("Pooling", {}), ("Dense", {})])
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with om.Model(f"local:{folder}") as model, pytest.raises(om.UnsafeWeights, match="2_Dense"):
        model.embed("x")


@pytest.mark.parametrize("listed", ["{", "[]", '[{"type": 1}]', '[{"type": "a.Transformer", "path": "../x"}]'])
def test_damaged_modules_are_told(tmp_path, listed):
    folder = tiny_encoder(tmp_path)
    (folder / "modules.json").write_text(listed)
    with om.Model(f"local:{folder}") as model, pytest.raises(om.LoadFailed, match=r"modules\.json"):
        model.embed("x")


def test_prompts_by_name_and_by_default(tmp_path):
    prompts = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}
    pool = {"pooling_mode": "mean", "include_prompt": False}
    folder = tiny_encoder(tmp_path, modules=[("Pooling", pool)], prompts=prompts)
    with om.Model(f"local:{folder}") as model:
        query = states(folder, "query: cat")[len("query: ") :].mean(0)
        torch.testing.assert_close(vector(model, "cat"), query, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(vector(model, "cat", extra={"prompt_name": "query"}), query, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(vector(model, "cat", extra={"prompt": "query: "}), query, rtol=1e-4, atol=1e-5)
        plain = states(folder, "cat").mean(0)
        torch.testing.assert_close(vector(model, "cat", extra={"prompt_name": "document"}), plain, rtol=1e-4, atol=1e-5)
        with pytest.raises(om.InvalidRequest, match=r"'quarry'.*'query', 'document'"):
            model.embed("cat", extra={"prompt_name": "quarry"})


def test_long_texts_are_refused_or_cut_as_asked(tmp_path):
    folder = tiny_encoder(tmp_path, sentences={"max_seq_length": 10, "do_lower_case": True})
    with om.Model(f"local:{folder}") as model:
        with pytest.raises(om.ContextTooLong, match=r"texts\[1\] has 11 tokens and the model takes 10"):
            model.embed(["x", "ABCDEFGHIJK"])
        cut = vector(model, "ABCDEFGHIJK", extra={"truncate": True})
        torch.testing.assert_close(cut, states(folder, "abcdefghij").mean(0), rtol=1e-4, atol=1e-5)


def test_vectors_are_cut_only_where_the_model_allows_it(tmp_path, plain):
    folder = tiny_encoder(
        tmp_path, modules=[("Pooling", {}), ("Normalize", {})], is_matryoshka=True, matryoshka_dimensions=[4, 8]
    )
    with om.Model(f"local:{folder}") as model:
        cut, whole = vector(model, "x", dimensions=4), vector(model, "x")
        torch.testing.assert_close(cut, whole[:4] / whole[:4].norm())
        with pytest.raises(om.UnsupportedFeature, match=r"'dimensions'.*to 5, only to 4, 8"):
            model.embed("x", dimensions=5)
    with om.Model(f"local:{plain}") as model, pytest.raises(om.UnsupportedFeature, match=r"'local'.*'dimensions'"):
        model.embed("x", dimensions=4)


def test_only_the_encoder_of_a_t5_is_read(tmp_path):
    folder = tiny_encoder(tmp_path, kind=T5EncoderModel, modules=[("Pooling", {})])
    with om.Model(f"local:{folder}") as model:
        assert model.embed(["a", "bc"]).vectors.shape == (2, 16)


def test_a_model_that_writes_is_refused(tmp_path):
    with (
        om.Model(f"local:{tiny_llama(tmp_path)}") as model,
        pytest.raises(om.UnsupportedFeature, match=r"LlamaForCausalLM.*'local' has no 'embed'"),
    ):
        model.embed("x")


def test_weights_that_lack_a_layer_are_refused(plain, tmp_path):
    folder = tmp_path / "short"
    shutil.copytree(plain, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with om.Model(f"local:{folder}") as model, pytest.raises(om.LoadFailed, match=r"hold no 'encoder\.layer\.2"):
        model.embed("x")


def test_half_precision_is_a_choice(plain):
    with om.Model(f"local:{plain}") as exact, om.Model(f"local:{plain}", dtype="bfloat16") as half:
        one, other = vector(exact, "hello"), vector(half, "hello")
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.05)


@pytest.fixture
def held(plain, monkeypatch):
    """A model whose every batch waits for permission; gives (model, began, go on)."""
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)
    whole = embedder.Embedder._vectors

    def wait(*args):
        began.release()
        assert go_on.acquire(timeout=60)
        return whole(*args)

    monkeypatch.setattr(embedder.Embedder, "_vectors", wait)
    with om.Model(f"local:{plain}") as model:
        yield model, began, go_on
        for _ in range(1000):
            go_on.release()


@pytest.mark.parametrize("surface", ["embed", "aembed"])
def test_the_deadline_holds_while_it_works(held, surface):
    model, began, _ = held

    def embed():
        found = getattr(model, surface)("x", timeout=5)
        return asyncio.run(found) if surface == "aembed" else found

    with pytest.raises(om.DeadlineExceeded) as caught:
        embed()
    assert began.acquire(timeout=0)
    assert caught.value.reference == model.reference


def test_a_cancelled_call_stops_before_its_next_batch(held):
    model, began, go_on = held

    async def cancel():
        task = asyncio.create_task(model.aembed(["x"] * encoder.BATCH * 50))
        await asyncio.to_thread(began.acquire)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.release()
        following = asyncio.create_task(model.aembed("y"))
        await asyncio.to_thread(began.acquire)
        go_on.release()
        assert (await following).vectors.shape == (1, 16)

    asyncio.run(cancel())
    assert not began.acquire(blocking=False)


def test_the_event_loop_is_free_while_it_works(held):
    model, began, go_on = held

    async def both():
        task = asyncio.create_task(model.aembed("x"))
        await asyncio.to_thread(began.acquire)
        ticks = [await asyncio.sleep(0, at) for at in range(100)]
        assert not task.done()
        go_on.release()
        await task
        return ticks

    assert asyncio.run(both()) == list(range(100))


def test_closing_ends_the_thread_and_a_later_call_opens_again(plain):
    def alive():
        return [thread for thread in threading.enumerate() if thread.name == "openmodels-worker"]

    before = len(alive())
    model = om.Model(f"local:{plain}")
    first = model.embed("x").vectors
    assert len(alive()) == before + 1
    model.close()
    wait_until(lambda: len(alive()) == before)
    np.testing.assert_array_equal(model.embed("x").vectors, first)
    model.close()


def test_a_model_is_used_after_a_fork(plain):
    with om.Model(f"local:{plain}") as model:
        whole = model.embed(["x", "y"]).vectors
        with multiprocessing.get_context("fork").Pool(1) as pool:
            told = pool.apply_async(embed_two, (model,)).get(timeout=120)
    np.testing.assert_allclose(told, whole, atol=1e-6)


def embed_two(model):
    return model.embed(["x", "y"]).vectors


def test_minilm_knows_what_belongs_together(minilm):
    texts = ["A cat sits on the mat.", "A kitten sits on the rug.", "Interest rates rose by a quarter point."]
    with om.Model(f"local:{minilm}") as model:
        found = model.embed(texts)
        alone = asyncio.run(model.aembed(texts[2]))
    similar = found.similarity()
    assert found.vectors.dtype == np.float32
    assert found.vectors.shape == (3, 384)
    assert similar[0, 1] > 0.5 > similar[0, 2]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(alone.vectors[0], found.vectors[2], atol=1e-6)


class TestPadding:
    """Texts in one batch get the vectors that they get alone, whatever the tokenizer says of padding."""

    TEXTS = ("a longer text than the others", "b", "", "two words")

    def beside_alone(self, folder):
        texts = [text for text in self.TEXTS if text]
        with om.Model(f"local:{folder}", dtype="float32") as model:
            together = model.embed(texts).vectors
            for text, found in zip(texts, together, strict=True):
                np.testing.assert_allclose(found, model.embed(text).vectors[0], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("pad", [None, "<|endoftext|>"])
    @pytest.mark.parametrize("kind", [LlamaModel, GPT2Model])
    def test_decoders(self, tmp_path, side, pad, kind):
        sizes = {"vocab_size": 259, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        made = LlamaConfig(**sizes, intermediate_size=16) if kind is LlamaModel else GPT2Config(**sizes)
        save_random(kind(made), tmp_path)
        tokenizer = tiny_tokenizer(None)
        tokenizer.pad_token, tokenizer.padding_side = pad, side
        tokenizer.save_pretrained(tmp_path)
        self.beside_alone(tmp_path)

    def test_an_encoder_without_a_token_for_it(self, tmp_path):
        folder = tiny_encoder(tmp_path, pad_token_id=None)
        tokenizer = tiny_tokenizer(None)
        tokenizer.pad_token = None
        tokenizer.save_pretrained(folder)
        self.beside_alone(folder)


class TestOffsetPositions:
    @pytest.fixture
    def model(self, tmp_path):
        """An XLM-RoBERTa of 40 positions, of which padding's and those before it are never used."""
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        made = XLMRobertaConfig(vocab_size=259, max_position_embeddings=40, pad_token_id=3, **sizes)
        XLMRobertaModel(made).save_pretrained(tmp_path)
        tiny_tokenizer(None).save_pretrained(tmp_path)
        return om.Model(f"local:{tmp_path}")

    def test_the_longest_text(self, model):
        assert model.capabilities.context == 36
        assert model.embed("a" * 36).vectors.shape == (1, 16)
        with pytest.raises(om.ContextTooLong, match="37 tokens and the model takes 36"):
            model.embed("a" * 37)

    def test_cut(self, model):
        cut = model.embed("a" * 99, extra={"truncate": True}).vectors
        np.testing.assert_allclose(cut, model.embed("a" * 36).vectors, rtol=1e-5)


@pytest.mark.parametrize(
    "extra", [{"prompt_name": 3}, {"prompt_name": {}}, {"prompt": ["a"]}, {"truncate": 1}, {"truncate": "yes"}]
)
def test_extra_of_another_type(plain, extra):
    with om.Model(f"local:{plain}") as model, pytest.raises(om.InvalidRequest) as caught:
        model.embed("a", extra=extra)
    assert type(caught.value) is om.InvalidRequest


def test_heads_may_be_left_over_and_layers_may_not(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(vocab_size=259, **sizes)).save_pretrained(tmp_path)
    tiny_tokenizer(None).save_pretrained(tmp_path)
    with om.Model(f"local:{tmp_path}") as model:
        assert model.embed("a").vectors.shape == (1, 16)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 1}))
    with om.Model(f"local:{tmp_path}") as model, pytest.raises(om.LoadFailed, match=r"16 tensors.*encoder\.layer\.1"):
        model.embed("a")
