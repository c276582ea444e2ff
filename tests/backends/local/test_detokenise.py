import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from openmodels.backends.local.detokenizer import Detokenizer


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def sentencepiece_like():
    """As Llama 2: "▁" for a space, a space before the first word, bytes for unknown characters."""
    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)}
    for piece in ["▁", "▁a", "▁b", "a", "b", "c", "▁there"]:
        vocab[piece] = len(vocab)
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<0x00>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend)


BYTES = byte_level()
PIECES = sentencepiece_like()


def streamed(tokenizer, ids, before=()):
    detokeniser = Detokenizer(tokenizer, before)
    pieces = [detokeniser.add(token) for token in ids]
    return [*pieces, detokeniser.flush()]


@settings(max_examples=300)
@given(st.text(max_size=40))
def test_pieces_join_to_the_text_and_never_split_a_character(text):
    ids = BYTES(text)["input_ids"]
    pieces = streamed(BYTES, ids)
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@given(st.text(alphabet="abc 語é👋🏽", max_size=20))
def test_sentencepiece_text_is_the_same_streamed_as_whole(text):
    ids = PIECES(text)["input_ids"]
    assert "".join(streamed(PIECES, ids)) == PIECES.decode(ids, clean_up_tokenization_spaces=False)


def test_an_answer_drops_the_first_space_and_a_continuation_keeps_it():
    there = PIECES.convert_tokens_to_ids("▁there")
    before = PIECES("a b")["input_ids"]
    assert streamed(PIECES, [there])[0] == "there"
    assert streamed(PIECES, [there], before)[0] == " there"


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_an_unfinished_character_at_the_end_is_left_out(cut):
    ids = BYTES("a👋")["input_ids"]
    assert "".join(streamed(BYTES, ids[: 1 + cut])) == "a"


def test_the_cost_of_a_token_does_not_grow():
    detokeniser = Detokenizer(BYTES)
    for token in BYTES("word " * 500)["input_ids"]:
        detokeniser.add(token)
        assert len(detokeniser._window) < 8
