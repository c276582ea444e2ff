"""The retry policy, on a clock that only moves when somebody sleeps."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels import retry
from openmodels.testing import SURFACES, Driver


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds

    async def asleep(self, seconds):
        self.sleep(seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=clock.sleep))
    monkeypatch.setattr(asyncio, "sleep", clock.asleep)
    return clock


class Work:
    """Fails with the given errors in turn, then gives "done"."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.tries = 0

    def __call__(self):
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


@pytest.fixture(params=["call", "acall"])
def attempt(request):
    def call(work, *, retries=2, deadline=None):
        if request.param == "call":
            return retry.call_with_retries(work, retries=retries, deadline=deadline)

        async def start():
            return work()

        return asyncio.run(retry.acall_with_retries(start, retries=retries, deadline=deadline))

    return call


def failures(number, **more):
    return [om.ServerFailed(f"Failure {index}.", **more) for index in range(number)]


def test_success_is_tried_once(attempt, clock):
    work = Work()
    assert attempt(work) == "done"
    assert (work.tries, clock.waits) == (1, [])


def test_tries_again_and_waits_longer_each_time(attempt, clock, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: high)  # jitter at its upper end
    work = Work(*failures(7))
    assert attempt(work, retries=7) == "done"
    assert work.tries == 8
    assert clock.waits == [0.5, 1, 2, 4, 8, 16, 20]


def test_jitter_reaches_down_to_nothing(attempt, clock, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda low, high: low)
    assert attempt(Work(*failures(2))) == "done"
    assert clock.waits == [0, 0]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_last_error_comes_out_itself(attempt, clock, retries):
    errors = failures(9)
    work = Work(*errors)
    with pytest.raises(om.ServerFailed) as caught:
        attempt(work, retries=retries)
    assert caught.value is errors[retries]
    assert work.tries == retries + 1


@pytest.mark.parametrize(
    "error",
    [
        om.AuthenticationFailed("No."),
        om.ServerFailed("Never.", retryable=False),
        ValueError("a bug"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_pass_by_itself_is_not_tried_again(attempt, clock, error):
    work = Work(error)
    with pytest.raises(type(error)) as caught:
        attempt(work)
    assert caught.value is error
    assert (work.tries, clock.waits) == (1, [])


def test_a_failure_of_another_kind_ends_the_tries(attempt, clock):
    work = Work(om.ServerFailed("First."), om.AuthenticationFailed("Second."))
    with pytest.raises(om.AuthenticationFailed):
        attempt(work, retries=5)
    assert work.tries == 2


@pytest.mark.parametrize(("asked", "waited"), [(7.5, 7.5), (0, 0), (-3, 0), (float("nan"), 0)])
def test_server_says_how_long_to_wait(attempt, clock, asked, waited):
    assert attempt(Work(om.RateLimited("Later.", retry_after=asked))) == "done"
    assert clock.waits == [waited]


def test_wait_beyond_the_deadline_is_not_begun(attempt, clock):
    error = om.RateLimited("In an hour.", retry_after=3600)
    with pytest.raises(om.RateLimited) as caught:
        attempt(Work(error), deadline=clock.now + 600)
    assert caught.value is error
    assert clock.waits == []


def test_tries_end_with_the_deadline(attempt, clock):
    work = Work(*failures(99, retry_after=4))
    with pytest.raises(om.ServerFailed):
        attempt(work, retries=99, deadline=clock.now + 10)
    assert clock.waits == [4, 4]


@given(
    waits=st.lists(st.floats(0, 50) | st.none(), max_size=6),
    retries=st.integers(0, 6),
    budget=st.floats(0.1, 60) | st.none(),
)
def test_never_more_tries_nor_more_time_than_allowed(waits, retries, budget):
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: clock.now))
        patch.setattr("tenacity.nap.time", SimpleNamespace(sleep=clock.sleep))
        work = Work(*(om.ServerFailed("No.", retry_after=wait) for wait in waits))
        deadline = None if budget is None else clock.now + budget
        try:
            retry.call_with_retries(work, retries=retries, deadline=deadline)
        except om.ServerFailed:
            assert work.tries == retries + 1 or budget is not None
        else:
            assert work.tries == len(waits) + 1
        assert work.tries <= retries + 1
        assert deadline is None or clock.now < deadline


def test_testing_switch(attempt, clock):
    with retry.override_retries():
        with pytest.raises(om.ServerFailed):
            attempt(Work(*failures(1)))
        with retry.override_retries(attempts=3, wait=9):
            assert attempt(Work(*failures(2)), retries=0) == "done"
        with pytest.raises(om.ServerFailed):
            attempt(Work(*failures(1)))
    assert clock.waits == [9, 9]
    assert attempt(Work(*failures(2, retry_after=1))) == "done"


@pytest.mark.parametrize("surface", SURFACES)
class TestThroughAModel:
    def test_tried_again_before_the_first_delta(self, surface):
        model = om.Model(
            "echo:", script=[[om.ServerFailed("No.", retry_after=0)], [om.RateLimited("No.", retry_after=0)], "yes"]
        )
        assert Driver(model, surface)("hello").reply.text == "yes"

    def test_as_often_as_the_model_or_the_call_says(self, surface):
        script = [*([om.ServerFailed("No.", retry_after=0)] for _ in range(9)), "yes"]
        for options, call, tries in (
            ({}, {}, 3),
            ({"max_retries": 1}, {}, 2),
            ({}, {"max_retries": 0}, 1),
            ({"max_retries": 1}, {"max_retries": 4}, 5),
        ):
            model = om.Model("echo:", script=script, **options)
            with pytest.raises(om.ServerFailed) as caught:
                Driver(model, surface)("hello", **call)
            assert len(model.backend.requests) == tries
            assert caught.value.reference == "echo:"
            assert caught.value.partial is None

    def test_never_after_the_first_delta(self, surface):
        model = om.Model("echo:", script=[["half an ", om.ServerFailed("No.", retry_after=0)], "yes"])
        with pytest.raises(om.ServerFailed) as caught:
            Driver(model, surface)("hello")
        assert caught.value.partial.text == "half an "
        assert len(model.backend.requests) == 1

    def test_not_when_the_server_asks_for_more_time_than_is_left(self, surface):
        model = om.Model("echo:", script=[[om.RateLimited("No.", retry_after=3600)], "yes"])
        with pytest.raises(om.RateLimited):
            Driver(model, surface)("hello", timeout=5)
        assert len(model.backend.requests) == 1


class TestBudget:
    def test_a_full_bucket_pays_for_a_hundred_retries(self):
        budget = retry.RetryBudget()
        assert [budget.take() for _ in range(101)] == [True] * 100 + [False]

    def test_a_refused_retry_costs_nothing(self):
        budget = retry.RetryBudget(capacity=7, cost=5)
        assert [budget.take(), budget.take(), budget.take()] == [True, False, False]
        assert budget.left == 2

    def test_successes_fill_the_bucket_up_to_its_brim(self):
        budget = retry.RetryBudget(capacity=10, cost=5)
        budget.take()
        budget.refill(retried=False)
        assert budget.left == 6
        budget.refill(retried=True)
        assert budget.left == 10
        budget.refill(retried=True)
        assert budget.left == 10

    @given(st.lists(st.sampled_from(["take", "first", "retried"]), max_size=200), st.integers(0, 30), st.integers(1, 9))
    def test_never_below_nothing_nor_above_its_capacity(self, steps, capacity, cost):
        budget = retry.RetryBudget(capacity, cost)
        for step in steps:
            if step == "take":
                before = budget.left
                assert budget.take() == (before >= cost)
            else:
                budget.refill(retried=step == "retried")
            assert 0 <= budget.left <= capacity

    @pytest.mark.usefixtures("clock")
    def test_an_outage_is_not_multiplied(self):
        work, budget = Work(*failures(10_000, retryable=True)), retry.RetryBudget()
        for _ in range(1000):
            with pytest.raises(om.ServerFailed):
                retry.call_with_retries(work, retries=2, deadline=None, origin=retry.OriginBackoff(budget))
        assert work.tries == 1000 + 100

    @pytest.mark.usefixtures("clock")
    def test_a_call_saved_by_its_retry_gives_the_cost_back(self):
        budget = retry.RetryBudget(capacity=10, cost=5)
        for _ in range(20):
            assert (
                retry.call_with_retries(
                    Work(*failures(1, retryable=True)), retries=2, deadline=None, origin=retry.OriginBackoff(budget)
                )
                == "done"
            )
        assert budget.left == 10

    def test_each_model_has_its_own(self):
        first, second = om.Model("echo:"), om.Model("echo:")
        first._runner.origin.budget.left = 0
        assert second._runner.origin.budget.left == 500

    @pytest.mark.parametrize("surface", SURFACES)
    def test_an_empty_bucket_lets_the_first_error_out(self, surface):
        with retry.override_retries(attempts=3), om.Model("echo:", script=[[om.ServerFailed("Down.")], "yes"]) as model:
            model._runner.origin.budget.left = 4
            with pytest.raises(om.ServerFailed):
                Driver(model, surface)("hi")
            assert model._runner.origin.budget.left == 4


class TestOrigin:
    def test_models_of_one_address_share_it(self):
        one, two = (om.Model("server:m", base_url="http://127.0.0.1:9/v1") for _ in range(2))
        other = om.Model("server:m", base_url="http://127.0.0.1:9/v2")
        assert one._runner.origin is two._runner.origin
        assert one._runner.origin is not other._runner.origin
        assert om.Model("echo:")._runner.origin is not om.Model("echo:")._runner.origin

    @pytest.mark.parametrize("due", [0.0, 0.4, 3.0])
    def test_what_fails_together_comes_back_spread_out(self, clock, due):
        origin = retry.OriginBackoff()
        waits = sorted(origin.reserve(due, None) for _ in range(200))
        assert waits[0] == due
        crowd = max(sum(start <= wait < start + 0.1 for wait in waits) for start in waits)
        assert crowd <= 2 * retry.BURST
        assert waits[-1] < due + 0.1 * (200 / retry.BURST + 2)

    def test_nobody_is_pushed_beyond_the_deadline(self, clock):
        origin = retry.OriginBackoff()
        assert all(origin.reserve(1.0, clock.now + 1.2) < 1.2 for _ in range(100))

    def test_a_call_waits_for_the_end_of_a_pause(self, attempt, clock):
        origin = retry.OriginBackoff()
        work = Work(om.RateLimited("Later.", retry_after=5))
        assert retry.call_with_retries(work, retries=1, deadline=None, origin=origin) == "done"
        origin.pause(3)
        assert retry.call_with_retries(Work(), retries=1, deadline=clock.now + 60, origin=origin) == "done"
        assert clock.waits == [pytest.approx(5), pytest.approx(3)]

    def test_a_call_that_may_not_wait_begins_at_once(self, clock):
        origin = retry.OriginBackoff()
        origin.pause(3)
        assert origin.initial_wait(0, None) == 0
        assert origin.initial_wait(2, clock.now + 2) == 0
        with retry.override_retries():
            assert origin.initial_wait(2, None) == 0
        origin.pause(2 * retry.LONGEST_ASKED)
        assert 0 < origin.initial_wait(2, None) <= 3.1
