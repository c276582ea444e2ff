import pytest
import torch
from hypothesis import given, strategies as st
from transformers import GenerationConfig

from openmodels.backends.local.engines.torch.sampling import Sampler
from openmodels.backends.local.prompt.prepare import SamplingParams
from openmodels.types.request import ChatRequest

CPU = torch.device("cpu")
GREEDY = GenerationConfig()


def sampler(defaults=GREEDY, prompt=(), size=8, **options):
    params = SamplingParams.from_request(ChatRequest(prompt="x", **options), defaults)
    return Sampler(params, defaults, prompt, size, CPU)


def draws(chooser, scores, n=4000):
    return torch.bincount(torch.tensor([chooser.sample(scores) for _ in range(n)]), minlength=scores.numel()) / n


SCORES = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0, -8.0, -9.0, -9.0])


def test_without_a_temperature_a_model_without_its_own_defaults_is_greedy():
    assert sampler().sample(SCORES) == 0
    assert sampler(temperature=0.0, top_p=0.5, seed=1).sample(SCORES) == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature):
    frequencies = draws(sampler(temperature=temperature, seed=7), SCORES)
    assert torch.allclose(frequencies, (SCORES / temperature).softmax(-1), atol=0.03)


def test_top_k_and_top_p_leave_only_the_likeliest():
    assert draws(sampler(temperature=1.0, top_k=2, seed=1), SCORES)[2:].sum() == 0
    chances = SCORES.softmax(-1)
    kept = draws(sampler(temperature=1.0, top_p=float(chances[0] + chances[1]) - 1e-3, seed=1), SCORES)
    assert kept[2:].sum() == 0
    assert kept[1] > 0
    assert draws(sampler(temperature=1.0, top_p=1e-9, seed=1), SCORES)[0] == 1


@given(st.integers(0, 2**63 - 1))
def test_a_seed_decides_every_draw_whatever_else_is_drawn(seed):
    one, two = sampler(temperature=1.0, seed=seed), sampler(temperature=1.0, seed=seed)
    first = [one.sample(SCORES) for _ in range(5)]
    torch.rand(3)
    other = sampler(temperature=1.0)
    second = []
    for _ in range(5):
        other.sample(SCORES)
        second.append(two.sample(SCORES))
    assert first == second


def test_the_models_own_defaults_hold_where_the_caller_says_nothing():
    own = GenerationConfig(do_sample=True, temperature=0.6, top_p=0.9, top_k=3)
    chooser = sampler(own)
    assert (chooser.params.temperature, chooser.params.top_p, chooser.params.top_k) == (0.6, 0.9, 3)
    assert sampler(own, temperature=0.0).sample(SCORES) == 0


@pytest.mark.parametrize("option", ["top_p", "top_k"])
def test_asking_for_a_cut_asks_for_sampling(option):
    assert sampler(**{option: 1}).params.temperature == 1.0


def test_penalties_follow_their_definitions():
    scores = torch.tensor([1.0, 0.9, -1.0, -1.1])
    assert sampler(size=4, repetition_penalty=1.2, prompt=[0]).sample(scores) == 1
    assert sampler(size=4, frequency_penalty=0.2).sample(scores) == 0
    repeated = sampler(size=4, frequency_penalty=0.2)
    assert [repeated.sample(scores) for _ in range(3)] == [0, 1, 0]
    present = sampler(size=4, presence_penalty=2.0)
    assert [present.sample(scores) for _ in range(3)] == [0, 1, 0]
    # A negative score is made worse too, not better.
    assert sampler(size=2, repetition_penalty=2.0, prompt=[0]).sample(torch.tensor([-1.0, -1.5])) == 1


def test_an_extreme_temperature_gives_a_token():
    assert sampler(temperature=1e-30, seed=1).sample(SCORES) == 0
    assert 0 <= sampler(temperature=100, seed=1).sample(SCORES.to(torch.bfloat16)) < 8
