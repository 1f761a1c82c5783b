"""What a worker process takes of its machine before it begins: descriptors, and the event loop.

Apart from ``worker_process``, which wires the rooms together: neither knows anything of the gateway.
"""

import asyncio
import contextlib
import resource
from typing import Final

_DESCRIPTORS_WANTED: Final = 65_536


def raise_descriptor_limit() -> None:
    """The soft limit is for programs that use ``select``; this one may have what the machine grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, _DESCRIPTORS_WANTED)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, max(soft, _DESCRIPTORS_WANTED)), hard))


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is, asyncio's own loop elsewhere: the same code, slower."""
    try:
        import uvloop  # noqa: PLC0415 - optional by design
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
