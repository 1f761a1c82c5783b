"""Counters to try a call with: a copy of those at work, so that limits stand as they are and nothing counts.

The gateway's counters are memory without a name, held by its processes; whoever may signal them may read it,
by the supervisor's descriptor. Without a running gateway, what it last saved; without that, none.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from faregate.policies.limits import capacity
from faregate.snapshot.data import Snapshot
from faregate.stores.counters import Counters
from faregate.stores.counters_prepare import prepare

SAVED: Final = "counters.bin"
_MEMORY: Final = "/memfd:faregate-counters"
_BLOCK: Final = 1 << 20


@contextmanager
def copied_counters(snapshot: Snapshot, memory: int = -1) -> Iterator[Counters]:
    """Counters of one's own. ``memory``: a descriptor of those at work, -1 for none. Raises OSError,
    CountersError.
    """
    own = _copy(memory) if memory >= 0 else _saved(snapshot)
    try:
        with closing(Counters(own)) as counters:
            yield counters
    finally:
        os.close(own)


@contextmanager
def counters_of(pid: int) -> Iterator[int]:
    """A descriptor of the counters that the process ``pid`` holds, -1 when they cannot be had."""
    found = -1
    with suppress(OSError):
        for one in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(one.readlink()).startswith(_MEMORY):
                    found = os.open(one, os.O_RDONLY | os.O_CLOEXEC)
                    break
    try:
        yield found
    finally:
        if found >= 0:
            os.close(found)


def _copy(memory: int) -> int:
    """What is written of it; the rest is holes here as there."""
    size = os.fstat(memory).st_size
    own = os.memfd_create("faregate-trial", os.MFD_CLOEXEC)
    try:
        os.ftruncate(own, size)
        at = 0
        while at < size:
            try:
                at = os.lseek(memory, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but holes
                    break
                raise
            end = os.lseek(memory, at, os.SEEK_HOLE)
            while at < end:
                part = os.pread(memory, min(_BLOCK, end - at), at)
                os.pwrite(own, part, at)
                at += len(part)
    except BaseException:
        os.close(own)
        raise
    return own


def _saved(snapshot: Snapshot) -> int:
    """What the gateway last saved, taken up as a start would; the file itself stays untouched."""
    with tempfile.TemporaryDirectory(prefix="faregate-try-") as folder:
        copy = Path(folder) / SAVED
        with suppress(OSError):
            shutil.copyfile(Path(snapshot.gateway.data) / SAVED, copy)
        return prepare(copy, capacity(snapshot), now=time.monotonic_ns(), wall=time.time()).memory
