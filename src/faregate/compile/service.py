"""``python -m faregate.compile.service --data FOLDER``: the compiler of increments, a child of the manager.

Reads requests from standard input and writes answers to standard output, a JSON object a line each
(``kernel.changes``), one at a time, until its input or its parent ends. It begins with the file's entries as
they were last put to work (``base.json``) and the replica, both in the data folder, and never reads the
configuration file itself. Only its load makes way for others.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from argparse import ArgumentParser
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from faregate.compile.increment import State
from faregate.compile.masked import masked
from faregate.kernel.changes import (
    CHANGES_MAX,
    DIAGNOSTICS_MAX,
    LINE_BYTES_MAX,
    LIST_MAX,
    Answer,
    Change,
    Request,
    Shown,
    Told,
)
from faregate.kernel.replica import NAME, ReplicaError, read
from faregate.model.diagnostics import Diagnostic, Level
from faregate.model.managed import BASE_NAME, BaseError, read_base

LOAD_NICE: Final = 10
_DIES_WITH_PARENT: Final = 1  # prctl(2), PR_SET_PDEATHSIG


class Service:
    """Answers requests about the gateway whose data is in ``data``."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._state: State | None = None
        self._base = ""
        self._nice = LOAD_NICE  # somebody waits for a later load
        self._operations: dict[str, Callable[[Request], Answer]] = {
            "load": self._load,
            "check": self._check,
            "apply": self._apply,
            "undo": self._take_back,
            "write": self._write,
            "show": self._show,
            "list": self._list,
        }

    def answer(self, request: Request) -> Answer:
        """What comes of ``request``; errors are answers."""
        begun = time.perf_counter()
        operation = self._operations.get(request.op)
        if operation is None:
            answer = Answer(ok=False, message=f"there is no operation `{request.op}`")
        else:
            try:
                answer = operation(request)
            except (BaseError, ReplicaError, OSError, ValueError) as error:
                answer = Answer(ok=False, message=str(error))
        answer.seconds = round(time.perf_counter() - begun, 6)
        return answer

    def _load(self, _: Request) -> Answer:
        self._state = None  # two of them would take twice the memory
        base, self._base = read_base(self._data / BASE_NAME)
        contents = read(self._data / NAME)
        with ThreadPoolExecutor(1, initializer=self._give_way) as thread:
            self._state = thread.submit(State, base, contents.entries).result()
        self._nice = 0
        gc.collect()
        gc.freeze()
        state = self._state
        answer = _told(state.diagnostics, ok=state.sound)
        answer.revision, answer.entries = contents.revision, len(state)
        return answer

    def _give_way(self) -> None:
        """Niceness is the thread's on Linux; a process without privileges never gets it back."""
        os.nice(self._nice)

    def _loaded(self) -> State:
        if self._state is None:
            raise ValueError("nothing is loaded")
        return self._state

    def _check(self, request: Request) -> Answer:
        return self._tried(request, self._loaded().check)

    def _apply(self, request: Request) -> Answer:
        return self._tried(request, self._loaded().apply)

    def _tried(
        self,
        request: Request,
        attempt: Callable[[Sequence[Change]], tuple[bool, list[Diagnostic]]],
    ) -> Answer:
        if len(request.changes) > CHANGES_MAX:
            raise ValueError(f"more than {CHANGES_MAX} changes at once")
        ok, diagnostics = attempt(request.changes)
        return _told(diagnostics, ok=ok)

    def _take_back(self, _: Request) -> Answer:
        done = self._loaded().undo()
        return Answer(ok=done, message="" if done else "there is nothing to take back")

    def _write(self, request: Request) -> Answer:
        content = self._loaded().encode(request.revision)
        descriptor = os.open(request.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return Answer(ok=True, revision=request.revision, base=self._base)

    def _show(self, request: Request) -> Answer:
        items = self._shown(request.section, [request.name])
        return Answer(ok=True, items=list(items))

    def _list(self, request: Request) -> Answer:
        names = self._loaded().names(request.section, request.owner)
        begin = bisect_right(names, request.after) if request.after else 0
        page = names[begin : begin + max(1, min(request.limit, LIST_MAX))]
        more = begin + len(page) < len(names)
        return Answer(ok=True, items=list(self._shown(request.section, page)), next=page[-1] if more else "")

    def _shown(self, section: str, names: list[str]) -> Iterator[Shown]:
        for name in names:
            found = self._loaded().entry(section, name)
            if found is not None:
                content, owner, file = found
                yield Shown(name, owner, masked(content), file)


def _told(diagnostics: list[Diagnostic], *, ok: bool) -> Answer:
    """Errors first: of many, some are not told."""
    ordered = sorted(diagnostics, key=lambda one: one.level is not Level.ERROR)
    told = [
        Told(one.code, one.level.value, one.path, one.message, one.expected, one.nearest, one.file, one.line)
        for one in ordered[:DIAGNOSTICS_MAX]
    ]
    return Answer(ok=ok, diagnostics=told, more=len(diagnostics) - len(told))


def serve(service: Service, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers line by line until the input ends, or a line is too long to be a request."""
    decoder = msgspec.json.Decoder(Request)
    while True:
        line = requests.readline(LINE_BYTES_MAX + 1)
        if not line.endswith(b"\n"):
            return
        try:
            request = decoder.decode(line)
        except msgspec.MsgspecError as error:
            answer = Answer(ok=False, message=f"not a request: {error}")
        else:
            answer = service.answer(request)
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until the input ends. Exit status 0; 2 for wrong usage."""
    parser = ArgumentParser(prog="python -m faregate.compile.service", allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, help="the gateway's data folder")
    options = parser.parse_args(arguments)
    parent = os.getppid()
    with_parent = ctypes.CDLL(None, use_errno=True).prctl
    with_parent(_DIES_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's signals are the supervisor's to answer
    gc.disable()  # its objects live as long as it: they are looked at once, after the load
    serve(Service(options.data), sys.stdin.buffer, cast("BinaryIO", sys.stdout.buffer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
