"""`fallback`: in order, only within its list, bounded, and with every attempt in the trace."""

from __future__ import annotations

import asyncio
import pickle
import time

import numpy as np
import pytest

import openmodels as om
from openmodels import retry
from openmodels.backends.base import Backend
from openmodels.backends.echo import EchoBackend
from openmodels.testing import PATHS, Driver
from openmodels.types.embeddings import Embeddings

DOWN = om.ServerFailed("It is down.")


def scripted(name, *turns, **options):
    return om.Model(EchoBackend(name, script=list(turns)), **{"max_retries": 0, **options})


def asked(model):
    return len(model.backend.requests)


@pytest.fixture(params=PATHS)
def surface(request):
    return request.param


class TestOrder:
    def test_the_first_answers_and_no_other_is_asked(self, surface):
        first, second = scripted("a", "hello"), scripted("b", "never")
        reply = Driver(om.fallback([first, second]), surface)("hi").reply
        assert reply.text == "hello"
        assert asked(second) == 0
        (attempt,) = reply.trace
        assert (attempt.model, attempt.error, attempt.is_answer) == ("echo:a", None, True)
        assert attempt.usage == reply.usage
        assert 0 < attempt.seconds <= reply.seconds

    def test_a_plain_model_has_an_empty_trace(self, surface):
        assert Driver(om.Model("echo:"), surface)("hi").reply.trace == ()

    def test_each_attempt_is_in_the_trace(self, surface):
        models = [scripted("a", [DOWN]), scripted("b", [om.RateLimited("Slow down.")]), scripted("c", "yes")]
        reply = Driver(om.fallback(models), surface)("hi").reply
        assert [type(attempt.error) for attempt in reply.trace] == [om.ServerFailed, om.RateLimited, type(None)]
        assert [attempt.model for attempt in reply.trace] == ["echo:a", "echo:b", "echo:c"]
        assert reply.trace[0].error.reference == "echo:a"

    def test_members_are_references_or_models(self):
        with om.fallback(["echo:a", om.Model("echo:b")]) as model:
            assert model.reference == "fallback:[echo:a, echo:b]"
            assert model.chat("hi").model == "a"
            assert [member["model"] for member in model.backend.describe()["members"]] == ["a", "b"]

    @pytest.mark.parametrize("models", ["echo:", om.Model("echo:"), [], None, 5])
    def test_a_wrong_list_is_named(self, models):
        with pytest.raises(om.InvalidRequest, match="models"):
            om.fallback(models)

    @pytest.mark.parametrize(
        "options",
        [{"on": 5}, {"on": [int]}, {"on": []}, {"max_attempts": 0}, {"max_attempts": 1.5}, {"cool_down": -1}],
        ids=str,
    )
    def test_a_wrong_option_is_named(self, options):
        with pytest.raises(om.InvalidRequest, match=next(iter(options))):
            om.fallback(["echo:"], **options)


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [
            om.AuthenticationFailed("x"),
            om.ConnectionFailed("x"),
            om.ContextTooLong("x"),
            om.InvalidResponse("x"),
            om.LoadFailed("x"),
            om.ModelNotFound("x"),
            om.QuotaExceeded("x"),
            om.RateLimited("x"),
            om.ServerFailed("x"),
            om.UnsupportedFeature("x"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_falls_over(self, error):
        assert om.fallback([scripted("a", [error]), "echo:b"]).chat("hi").model == "b"

    @pytest.mark.parametrize("error", [om.InvalidRequest("x"), om.ContentFiltered("x"), KeyError("x")], ids=repr)
    def test_does_not_fall_over(self, error, surface):
        second = scripted("b", "never")
        with pytest.raises(type(error)):
            Driver(om.fallback([scripted("a", [error]), second]), surface)("hi")
        assert asked(second) == 0

    def test_on_says_which(self):
        limited, down = scripted("a", [om.RateLimited("x")]), scripted("a", [DOWN])
        for on in (om.RateLimited, [om.RateLimited], lambda error: isinstance(error, om.RateLimited)):
            assert om.fallback([limited, "echo:b"], on=on).chat("hi").model == "b"
            with pytest.raises(om.ServerFailed):
                om.fallback([down, "echo:b"], on=on).chat("hi")
        assert om.fallback([scripted("a", [KeyError("x")]), "echo:b"], on=[KeyError]).chat("hi").model == "b"

    def test_what_does_not_fall_over_is_retried_where_it_failed(self, surface):
        first, second = scripted("a", [DOWN], "yes", max_retries=1), scripted("b", "never", max_retries=2)
        model = om.fallback([first, second], on=om.RateLimited)
        with retry.override_retries(attempts=5):
            reply = Driver(model, surface)("hi").reply
        assert [attempt.model for attempt in reply.trace] == ["echo:a", "echo:a"]
        assert asked(second) == 0

    def test_all_causes_are_held(self, surface):
        model = om.fallback([scripted("a", [DOWN]), scripted("b", [om.QuotaExceeded("No credit.")])])
        with pytest.raises(om.AllModelsFailed, match="echo:b: QuotaExceeded: No credit") as caught:
            Driver(model, surface)("hi")
        assert [type(error) for error in caught.value.errors] == [om.ServerFailed, om.QuotaExceeded]
        assert [attempt.model for attempt in caught.value.trace] == ["echo:a", "echo:b"]
        assert caught.value.reference == model.reference
        assert not caught.value.retryable
        assert all(error.__traceback__ is None for error in caught.value.errors)

    def test_an_option_that_a_member_lacks_is_left_to_another(self):
        class Plain(EchoBackend):
            options = frozenset({"temperature"})

        reply = om.fallback([Plain("plain"), "echo:b"]).chat("yes", choices=["yes"], max_tokens=5)
        assert reply.parsed == "yes"
        assert [type(attempt.error) for attempt in reply.trace] == [om.UnsupportedFeature, type(None)]

    def test_an_option_that_all_lack_is_refused_before_any_work(self):
        class Plain(EchoBackend):
            options = frozenset()

        model = om.fallback([Plain("a"), Plain("b")])
        with pytest.raises(om.UnsupportedFeature, match=r"'fallback'.*'seed'") as caught:
            model.chat("hi", seed=1)
        assert caught.value.reference == model.reference


class TestFirstToken:
    def test_a_stream_does_not_fall_over_behind_it(self):
        second = scripted("b", "never")
        model = om.fallback([scripted("a", ["half ", DOWN]), second])
        with model.stream("hi") as stream, pytest.raises(om.ServerFailed) as caught:
            list(stream)
        assert caught.value.partial.text == "half "
        assert caught.value.trace[0].error is not None
        assert asked(second) == 0

    def test_an_empty_delta_is_no_token(self):
        model = om.fallback([scripted("a", [om.Delta(model="a"), DOWN]), scripted("b", "yes")])
        with model.stream("hi") as stream:
            assert [delta.model for delta in stream if delta.text] == ["b"]
        assert stream.reply.text == "yes"

    def test_chat_shows_nothing_and_so_falls_over_anywhere(self):
        for error in (DOWN, om.DeadlineExceeded("x"), om.StreamInterrupted("x")):
            assert om.fallback([scripted("a", ["half ", error]), "echo:b"]).chat("hi").text == "hi"

    def test_an_answer_without_its_end_is_no_answer(self):
        class Cut(EchoBackend):
            def run(self, request):
                yield om.Delta(text="half")

        reply = om.fallback([Cut("a"), "echo:b"]).chat("hi")
        assert reply.text == "hi"
        assert isinstance(reply.trace[0].error, om.StreamInterrupted)

    def test_a_stream_may_be_told_to(self):
        model = om.fallback([scripted("a", ["half ", DOWN]), scripted("b", "yes it is")], after_first_token=True)
        with model.stream("hi") as stream:
            assert "".join(delta.text for delta in stream) == "yes it is"
        assert [attempt.model for attempt in stream.reply.trace] == ["echo:a", "echo:b"]


class TestBounds:
    def test_retries_come_after_the_other_members_and_count(self, surface):
        first, second = scripted("a", [DOWN], max_retries=2), scripted("b", [DOWN], [DOWN], "yes", max_retries=2)
        with retry.override_retries(attempts=5):
            reply = Driver(om.fallback([first, second], cool_down=0), surface)("hi").reply
        assert [attempt.model[-1] for attempt in reply.trace] == list("ababab")

    def test_a_failure_that_does_not_pass_is_not_tried_again(self):
        first, second = scripted("a", [om.QuotaExceeded("x")], max_retries=2), scripted("b", [DOWN], max_retries=1)
        with retry.override_retries(attempts=5), pytest.raises(om.AllModelsFailed):
            om.fallback([first, second]).chat("hi")
        assert (asked(first), asked(second)) == (1, 2)

    @pytest.mark.parametrize("bound", [1, 2, 4])
    def test_attempts_are_bounded_over_all_members(self, bound, surface):
        models = [scripted(name, [DOWN], max_retries=3) for name in "abc"]
        nested = om.fallback(models[:2])
        with retry.override_retries(attempts=9), pytest.raises(om.AllModelsFailed) as caught:
            Driver(om.fallback([nested, models[2]], max_attempts=bound), surface)("hi")
        assert sum(map(asked, models)) == len(caught.value.trace) == bound

    def test_a_members_own_timeout_ends_its_attempt_alone(self, surface):
        slow = scripted("a", [5.0, "late"], timeout=0.02)
        reply = Driver(om.fallback([slow, "echo:b"]), surface)("hi").reply
        assert reply.model == "b"
        assert isinstance(reply.trace[0].error, om.DeadlineExceeded)

    def test_the_deadline_is_for_all(self, surface):
        slow, other = scripted("a", [5.0, "late"]), scripted("b", "never")
        model = om.fallback([slow, other])
        start = time.monotonic()
        with pytest.raises(om.DeadlineExceeded) as caught:
            Driver(model, surface)("hi", timeout=0.05)
        assert time.monotonic() - start < 1
        assert asked(other) == 0
        assert caught.value.reference == model.reference
        assert [attempt.model for attempt in caught.value.trace] == ["echo:a"]


class TestCoolDown:
    def test_what_failed_comes_last_for_a_while(self):
        now = [100.0]
        first, second = scripted("a", [DOWN], "back"), scripted("b", "yes")
        model = om.fallback([first, second], cool_down=10)
        model.backend.clock = lambda: now[0]
        assert model.chat("1").text == "yes"
        assert model.chat("2").trace[0].model == "echo:b"
        now[0] += 10.1
        assert model.chat("3").text == "back"
        assert model.chat("4").trace[0].model == "echo:a"

    def test_a_server_may_say_how_long(self):
        now = [0.0]
        first = scripted("a", [om.RateLimited("x", retry_after=60)], "back")
        model = om.fallback([first, "echo:b"], cool_down=10)
        model.backend.clock = lambda: now[0]
        for seconds, name in ((0, "b"), (59, "b"), (60.1, "a")):
            now[0] = seconds
            assert model.chat("hi").trace[-1].model == f"echo:{name}"

    def test_only_one_call_tries_it_first(self):
        now = [0.0]
        first = scripted("a", [DOWN], [0.2, "slowly back"])
        model = om.fallback([first, "echo:b"], cool_down=10)
        model.backend.clock = lambda: now[0]
        model.chat("hi")
        now[0] = 11

        async def two():
            return await asyncio.gather(model.achat("1"), model.achat("2"))

        assert sorted(reply.trace[0].model for reply in asyncio.run(two())) == ["echo:a", "echo:b"]

    def test_nothing_is_lost_where_all_cool_down(self):
        model = om.fallback([scripted("a", [DOWN], "back"), scripted("b", [DOWN])], cool_down=1000)
        with pytest.raises(om.AllModelsFailed):
            model.chat("1")
        assert model.chat("2").text == "back"

    def test_a_long_prompt_says_nothing_of_the_member(self):
        model = om.fallback([scripted("a", [om.ContextTooLong("x")], "short"), "echo:b"])
        assert [model.chat("hi").trace[-1].model for _ in range(2)] == ["echo:b", "echo:a"]


class Vectors(Backend):
    name = "vectors"
    features = frozenset({"embed"})

    def __init__(self, rest="", error=None):
        super().__init__(rest)
        self.error = error

    def run(self, request):
        raise NotImplementedError

    def embed(self, request):
        if self.error:
            raise self.error
        return Embeddings(np.ones((len(request.texts), 2), "float32"), model=self.rest)


class TestOtherCalls:
    @pytest.mark.parametrize("method", ["embed", "aembed"])
    def test_embeds_where_all_members_can(self, method):
        down, up = om.Model(Vectors("a", DOWN), max_retries=0), Vectors("b")
        for model in (om.fallback([down, up]), om.fallback([om.fallback([down]), up])):
            outcome = getattr(model, method)(["x", "y"])
            assert (asyncio.run(outcome) if method == "aembed" else outcome).model == "b"
        mixed = om.fallback([Vectors("a"), "echo:"])
        assert mixed.capabilities.embed is False
        with pytest.raises(om.UnsupportedFeature, match="embed"):
            mixed.embed("x")

    def test_a_failure_of_all_holds_its_causes(self):
        with pytest.raises(om.AllModelsFailed) as caught:
            om.fallback([om.Model(Vectors("a", DOWN), max_retries=0)]).embed("x")
        assert [attempt.model for attempt in caught.value.trace] == ["vectors:a"]


class TestNesting:
    def test_one_trace_of_all(self, surface):
        inner = om.fallback([scripted("a", [DOWN]), scripted("b", [DOWN])])
        reply = Driver(om.fallback([inner, "echo:c"]), surface)("hi").reply
        assert [attempt.model for attempt in reply.trace] == ["echo:a", "echo:b", "echo:c"]

    def test_hooks_of_members_see_their_calls(self, surface):
        seen = []
        member = om.Model("echo:a", on_request=lambda _: seen.append("asked"), on_reply=lambda r: seen.append(r.text))
        Driver(om.fallback([om.fallback([member])]), surface)("hi there")
        assert seen == ["asked", "hi there"]


class TestOwnership:
    class Closing(EchoBackend):
        count = 0

        def close(self):
            type(self).count += 1

    def test_only_its_own_members_are_closed(self):
        self.Closing.count = 0
        given = om.Model(self.Closing("given"))
        with om.fallback([given, self.Closing("own")]):
            pass
        assert self.Closing.count == 1

    def test_loads_the_first_that_loads(self):
        class Broken(EchoBackend):
            def load(self):
                raise om.LoadFailed("No file.")

        om.fallback([Broken("a"), "echo:b"]).load()
        with pytest.raises(om.AllModelsFailed, match="No file"):
            om.fallback([Broken("a")]).load()


def test_a_trace_is_data():
    reply = om.fallback([scripted("a", [DOWN]), "echo:b"]).chat("hi")
    read = om.Reply.model_validate_json(reply.model_dump_json())
    assert read.trace[0].error == "ServerFailed: echo:a: It is down."
    assert read.trace[1].usage == reply.usage
    assert pickle.loads(pickle.dumps(reply)).trace[0].model == "echo:a"


def test_corrections_keep_the_trace_of_all_rounds():
    model = om.fallback([scripted("a", "no", "true")])
    assert len(model.chat("hi", schema=bool, retries=1).trace) == 2


class Flaky(Backend):
    """Answers at once or fails, as drawn for each prompt: before its first token, or in the middle."""

    name = "flaky"
    errors = (
        DOWN,
        om.RateLimited("x"),
        om.ConnectionFailed("x"),
        om.AuthenticationFailed("x"),
        om.InvalidResponse("x"),
    )

    def __init__(self, rest, fails):
        super().__init__(rest)
        self.fails = fails
        self.count = 0

    def run(self, request):
        self.count += 1
        number = int(request.messages[-1].text)
        error = type(self.errors[number % 5])("It fails.") if self.fails[number] else None
        if error and number % 2:
            raise error
        yield om.Delta(text="half ")
        if error:
            raise error
        yield om.Delta(text=self.rest, finish_reason="stop", usage=om.Usage(input_tokens=1, output_tokens=2))

    async def arun(self, request):
        for delta in self.run(request):
            await asyncio.sleep(0)
            yield delta


class TestTenThousandCalls:
    CALLS = 10_000

    @pytest.fixture
    def model(self):
        draws = np.random.default_rng(11).random((3, self.CALLS)) < 0.3
        members = [Flaky(name, row) for name, row in zip("abc", draws, strict=True)]
        models = [om.Model(member, max_retries=0, timeout=None) for member in members]
        model = om.fallback([models[0], om.fallback(models[1:])], max_attempts=3, cool_down=0.001)
        model.lost = set(np.flatnonzero(draws.all(axis=0)))
        return model

    def check(self, model, number, outcome, seconds):
        """An answer is lost only where every member fails; attempts and time are bounded."""
        assert seconds < 11
        trace = outcome.trace
        assert 1 <= len(trace) <= 3
        assert len({attempt.model for attempt in trace}) == len(trace)
        if number in model.lost:
            assert isinstance(outcome, om.AllModelsFailed)
            assert len(outcome.errors) == len(trace) == 3
        else:
            assert outcome.text == f"half {trace[-1].model[-1]}"

    def test_synchronous(self, model):
        for number in range(0, self.CALLS, 2):
            start = time.monotonic()
            try:
                outcome = model.chat(str(number), timeout=10)
            except om.AllModelsFailed as error:
                outcome = error
            self.check(model, number, outcome, time.monotonic() - start)

    def test_asynchronous(self, model):
        async def ask(number):
            start = time.monotonic()
            try:
                outcome = await model.achat(str(number), timeout=10)
            except om.AllModelsFailed as error:
                outcome = error
            self.check(model, number, outcome, time.monotonic() - start)

        async def main():
            for first in range(1, self.CALLS, 400):
                await asyncio.gather(*map(ask, range(first, min(first + 400, self.CALLS), 2)))

        asyncio.run(main())
