"""Whatever a process says once it speaks in events is one JSON object a line, of a closed form."""

import json
import select
import subprocess
import sys

import pytest

from faregate.kernel.events import event_line

SPEAK = "from faregate.kernel.events import speak_in_events\nspeak_in_events('worker', worker=3)\n"
FORM = ["time", "event", "message", "level", "process"]


def test_an_event_has_its_members_in_order() -> None:
    told = json.loads(event_line("reloaded", "revision 2", {"revision": 2}, level="info"))
    assert list(told) == [*FORM, "revision"]
    assert (told["event"], told["message"], told["level"], told["process"]) == (
        "reloaded",
        "revision 2",
        "info",
        "supervisor",
    )


@pytest.mark.parametrize(
    ("said", "level", "message", "further"),
    [
        ("import logging; logging.getLogger('faregate.tls').warning('%s: no', 'a')", "warning", "a: no", "logger"),
        ("import logging; logging.getLogger('faregate.tls').info('x\\ny')", "info", "x\ny", "logger"),
        ("import asyncio.log; asyncio.log.logger.error('late')", "error", "late", "logger"),
        ("import sys; print('disk is', 'full', file=sys.stderr)", "error", "disk is full", None),
        ("import warnings; warnings.warn('old', stacklevel=2)", "error", "", None),
        ("raise RuntimeError('broken')", "error", "RuntimeError: broken", "exception"),
        (
            "import threading\nt = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
            "error", "", None,
        ),
        (
            "import logging\ntry: 1 / 0\nexcept ZeroDivisionError: logging.exception('internal error')",
            "error", "internal error", "exception",
        ),
        ("import logging; logging.getLogger('g').error('%(who)s', {'a': 1})", "error", "%(who)s", "logger"),
        ("import logging; logging.getLogger('g').error('%d of %d', 'x')", "error", "%d of %d", "logger"),
        ("import logging; logging.getLogger('g').warning('%s', type('T', (), {'__str__': lambda s: s.x})())", "warning", "%s", "logger"),
    ],
)  # fmt: skip
def test_everything_said_is_an_event_on_standard_output(
    said: str, level: str, message: str, further: str | None
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SPEAK + said], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told
    assert all(list(one)[:6] == [*FORM, "worker"] for one in told)
    assert (told[0]["event"], told[0]["level"], told[0]["process"], told[0]["worker"]) == (
        "log",
        level,
        "worker",
        3,
    )
    assert told[0]["message"] == message or not message
    assert further is None or further in told[0]


def test_a_line_goes_out_in_one_piece_however_long_it_was() -> None:
    text = "import logging; logging.getLogger('g').error('x' * 100_000)"
    with subprocess.Popen([sys.executable, "-c", SPEAK + text], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert len(line) < select.PIPE_BUF
        assert json.loads(line)["message"] == "x" * 1000


def test_a_reader_that_has_gone_ends_nobody() -> None:
    text = "import os, logging; os.close(1); logging.getLogger('g').error('x'); print('y', file=__import__('sys').stderr)"
    assert subprocess.run([sys.executable, "-c", SPEAK + text], check=False, timeout=30).returncode == 0


def said_by(text: str) -> list[dict[str, object]]:
    """The events of a process that does ``text``, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", SPEAK + text], capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_record_that_cannot_be_said_harms_nobody_but_itself() -> None:
    told = said_by(
        "import logging\n"
        "class Mute:\n    def __str__(self): raise LookupError('mute')\n"
        "logging.getLogger('g').error(Mute())\n"
        "logging.getLogger('g').error('on')\n"
    )
    assert told[-1]["message"] == "on"
    assert "LookupError: mute" in [one["message"] for one in told]


def test_who_prints_in_the_midst_of_a_print_does_not_hang() -> None:
    """As a finalizer or a signal's handler may."""
    told = said_by(
        "import sys\n"
        "class Late(str):\n"
        "    def __radd__(self, other):\n"
        "        sys.stderr.write('inner\\n')\n"
        "        return other + str(self)\n"
        "sys.stderr.write(Late('outer\\n'))\n"
    )
    assert [one["message"] for one in told] == ["inner", "outer"]
