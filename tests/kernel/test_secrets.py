"""A secret shows nowhere: not printed, not formatted, not pickled, not compared."""

import copy
import pickle
import traceback

import pytest

from faregate.kernel.secrets import Secret


def test_only_reveal_gives_it_back() -> None:
    secret = Secret(b"hunter2")
    assert secret.reveal() == b"hunter2"
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>10}", repr([secret]), "%s" % secret]  # noqa: UP031 - the form is the point
    assert not any("hunter2" in text for text in shown)


def test_two_of_the_same_value_do_not_tell_so() -> None:
    assert Secret(b"a") != Secret(b"a")


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_does_not_leave_the_process(leave) -> None:
    with pytest.raises(TypeError):
        leave(Secret(b"hunter2"))


def test_no_trace_shows_it() -> None:
    secret = Secret(b"hunter2")
    with pytest.raises(ValueError) as caught:
        raise ValueError(secret)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
