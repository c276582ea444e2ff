"""What belongs to a sequence stays with it: positions of images, frequencies of long prompts, parts of any size."""

from __future__ import annotations

import pytest
import torch
from tiny import save_random
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from openmodels.backends.local.engines.torch.equivalence_check import check_unbatched, is_close
from openmodels.backends.local.engines.torch.unbatched_model import UnbatchedModel

CPU = torch.device("cpu")
IMAGE, START, END = 90, 91, 92


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A model whose positions of text depend on the images before it."""
    folder = tmp_path_factory.mktemp("positions")
    text = {
        "vocab_size": 100,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [1, 1, 2]},
    }
    vision = {
        "depth": 1,
        "embed_dim": 16,
        "hidden_size": 32,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 1,
        "mlp_ratio": 2,
    }
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )
    config.eos_token_id = config.text_config.eos_token_id = None
    save_random(Qwen2VLForConditionalGeneration(config), folder)
    return folder


def opened(folder):
    return Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def image_prompt(seed, height, width):
    """Return a prompt with an image of so many patches, and the tensors that go with it."""
    count = height * width // 4
    tokens = [5, START, *[IMAGE] * count, END, 7 + seed, 8]
    pixels = torch.randn(height * width, 3 * 16, generator=torch.Generator().manual_seed(seed))
    kinds = torch.tensor([[int(token == IMAGE) for token in tokens]])
    grid = torch.tensor([[1, height, width]])
    return tokens, {"pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": kinds}


def expected(folder, tokens, inputs, count):
    """Return what `generate` of a model that has computed nothing yet continues with."""
    ids = torch.tensor([tokens])
    with torch.inference_mode():
        made = opened(folder).generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, **inputs
        )
    return made[0, len(tokens) :].tolist()


def continued(runner, tokens, inputs, count, parts=(10**6,)):
    sequence, done = runner.start(tokens, inputs), 0
    for part in parts:
        scores = sequence.extend(tokens[done : done + part])
        done += part
    computed = [int(scores[0].argmax())]
    while len(computed) < count:
        computed.append(int(sequence.extend(computed[-1:])[0].argmax()))
    return computed


def test_positions_belong_to_the_sequence_whatever_ran_before(seeing):
    runner = UnbatchedModel(opened(seeing), CPU)
    requests = [
        ([3, 4, 9, 11], {}),
        image_prompt(1, 8, 12),
        ([3, 4, 9, 11], {}),
        image_prompt(2, 4, 16),
        image_prompt(1, 8, 12),
        ([12] * 20, {}),
    ]
    for tokens, inputs in requests:
        assert continued(runner, tokens, inputs, 8) == expected(seeing, tokens, inputs, 8)
        # One that is given up in its prompt, or fails in it, leaves nothing behind either.
        abandoned = image_prompt(3, 16, 8)
        runner.start(*abandoned).extend(abandoned[0])
        with pytest.raises(ValueError, match="features and image tokens"):
            runner.start(*image_prompt(4, 8, 8)).extend([IMAGE] * 3)


def test_two_sequences_can_take_turns(seeing):
    runner = UnbatchedModel(opened(seeing), CPU)
    requests = [image_prompt(5, 8, 8), ([31, 32, 33], {}), image_prompt(6, 4, 12)]
    sequences = [runner.start(*request) for request in requests]
    texts = [
        [int(sequence.extend(tokens)[0].argmax())] for sequence, (tokens, _) in zip(sequences, requests, strict=True)
    ]
    for _ in range(5):
        for sequence, computed in zip(sequences, texts, strict=True):
            computed.append(int(sequence.extend(computed[-1:])[0].argmax()))
    assert texts == [expected(seeing, *request, 6) for request in requests]


def test_the_text_of_a_model_with_images_may_be_computed_in_parts(seeing):
    runner = UnbatchedModel(opened(seeing), CPU)
    check_unbatched(runner, torch.float32)
    assert (runner.whole_prompt, runner.recompute) == (None, None)
    tokens = [1 + at % 80 for at in range(40)]
    assert continued(runner, tokens, {}, 6, parts=(13, 20, 7)) == expected(seeing, tokens, {}, 6)


class Faulty(LlamaForCausalLM):
    """A llama that loses what came before in some of its passes."""

    loses = staticmethod(lambda _: False)

    def forward(self, input_ids, cache=None, past_key_values=None, position_ids=None, **options):
        held = past_key_values if cache is None else cache
        if held is not None and held.get_seq_length() and self.loses(input_ids.shape[1]):
            position_ids = position_ids * 0
        name = "past_key_values" if cache is None else "cache"
        return super().forward(input_ids, position_ids=position_ids, **{name: held}, **options)


def faulty(loses):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(2)
        model = Faulty(
            LlamaConfig(vocab_size=90, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
        )
        for weights in model.parameters():
            weights.normal_(0, 0.3)
    model.loses = loses
    return UnbatchedModel(model.eval(), CPU)


def test_what_chunks_lose_is_computed_in_one_pass():
    runner = faulty(lambda tokens: tokens > 1)
    check_unbatched(runner, torch.float32)
    assert "chunks" in runner.whole_prompt
    assert runner.recompute is None
    assert runner.next_chunk_size(900, 0, 905, 512) == 900
    assert runner.next_chunk_size(900, 900, 5, 512) == 1


def test_what_steps_lose_is_computed_again():
    runner = faulty(lambda tokens: True)
    check_unbatched(runner, torch.float32)
    assert "newest token" in runner.recompute
    assert runner.next_chunk_size(900, 0, 905, 512) == 900
    assert runner.next_chunk_size(900, 900, 5, 512) == 5
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    due = runner.start(tokens).extend(tokens)
    sequence = runner.start(tokens[:4])
    sequence.extend(tokens[:4])
    assert torch.equal(sequence.extend(tokens[4:6]), runner.start(tokens[:6]).extend(tokens[:6]))
    assert torch.equal(sequence.extend(tokens[6:]), due)
    assert sequence.tokens == tokens


def test_a_model_that_loses_nothing_is_fed_in_chunks_and_steps():
    runner = faulty(lambda tokens: False)
    check_unbatched(runner, torch.float32)
    assert (runner.whole_prompt, runner.recompute) == (None, None)
    assert runner.next_chunk_size(900, 0, 905, 512) == 512
    assert runner.next_chunk_size(900, 512, 393, 512) == 388
    assert runner.next_chunk_size(900, 900, 5, 512) == 5
    assert runner.next_chunk_size(900, 0, 905, 512, has_images=True) == 900


def test_no_chunk_lies_beyond_the_length_where_frequencies_change():
    runner = faulty(lambda tokens: False)
    runner.rope_switch_length = 700
    assert runner.next_chunk_size(701, 0, 701, 512) == 701
    assert runner.next_chunk_size(700, 0, 703, 512) == 512
    assert runner.next_chunk_size(690, 690, 8, 512) == 8
    assert runner.next_chunk_size(690, 690, 11, 512) == 1


@pytest.mark.parametrize(
    ("dtype", "noise", "is_same"),
    [
        (torch.float32, 1e-5, True),
        (torch.float32, 1e-2, False),
        (torch.bfloat16, 5e-2, True),
        (torch.bfloat16, 0.5, False),
    ],
)
def test_scores_are_the_same_up_to_the_rounding_of_their_dtype(dtype, noise, is_same):
    generator = torch.Generator().manual_seed(4)
    due = torch.randn(3, 500, generator=generator)
    other = due + noise * torch.randn(3, 500, generator=generator)
    assert is_close(other + 100.0, due, dtype) == is_same
    assert is_close(torch.full_like(due, float("nan")), due, dtype) is False
    assert is_close(due, torch.full_like(due, float("nan")), dtype) is True
