"""Every class of the error tree: what it says, carries and survives."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from openmodels import errors
from openmodels.types.reply import Reply

TREE = sorted(
    (value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.OpenModelsError)),
    key=lambda kind: kind.__name__,
)
REPLY = Reply(text="half an ans", model="m")
STDLIB_BASES = {
    "MissingExtra": ImportError,
    "InvalidRequest": ValueError,
    "DeadlineExceeded": TimeoutError,
    "WriteFailed": OSError,
}


def make(kind, **more):
    if kind is errors.OutputInvalid:
        return kind("The cause.", reply=REPLY, **{k: v for k, v in more.items() if k in {"reference", "next_step"}})
    return kind("The cause.", **more)


@pytest.mark.parametrize("kind", TREE)
def test_message_holds_what_is_known(kind):
    assert str(make(kind)) == "The cause."
    assert str(make(kind, reference="local:org/model")) == "local:org/model: The cause."
    full = make(kind, reference="echo:", next_step="Do this.", request_id="r-1")
    assert str(full).startswith("echo: The cause. Do this.")
    assert str(full).endswith(" (request r-1)") or kind is errors.OutputInvalid


@pytest.mark.parametrize("kind", TREE)
@pytest.mark.parametrize("clone", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_every_attribute_survives_the_way_to_another_process(kind, clone):
    error = make(
        kind,
        reference="hf:org/model",
        next_step="Wait.",
        status=429,
        request_id="r-1",
        retryable=True,
        retry_after=1.5,
        partial=REPLY,
    )
    again = clone(error)
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error)
    assert again.args == error.args


@pytest.mark.parametrize("kind", TREE)
def test_stdlib_base(kind):
    expected = [base for name, base in STDLIB_BASES.items() if issubclass(kind, getattr(errors, name))]
    found = [base for base in (ImportError, ValueError, TimeoutError, OSError) if base in kind.__mro__]
    # A TimeoutError is an OSError of its own.
    found = [base for base in found if base is not OSError or TimeoutError not in found]
    assert found == expected


def test_only_what_may_pass_by_itself_is_retryable():
    retryable = {kind.__name__ for kind in TREE if make(kind).retryable}
    assert retryable == {"RateLimited", "ServerFailed", "ConnectionFailed"}
    assert errors.LoadFailed("x.", retryable=True).retryable
    assert not errors.RateLimited("x.", retryable=False).retryable


def test_invalid_output_keeps_the_reply():
    error = errors.OutputInvalid("Not JSON.", reply=REPLY)
    assert error.reply is REPLY
    assert error.partial is REPLY
