"""What worker and manager say to each other over the feed's socket: MessagePack behind a length.

A worker sends reports: deltas of its counts, absolute readings, its state. The manager acknowledges each by
its number and may ask for one now. A report that was not acknowledged is sent again under the same number
after a reconnect, and its number tells the manager that it has it already: no count is lost or doubled while
either end lives.
"""

from typing import TYPE_CHECKING, Final, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_BYTES_MAX: Final = 16 << 20
_LENGTH_BYTES: Final = 4


class Count(msgspec.Struct, array_like=True):
    """A counter's growth since the report before."""

    name: str
    labels: tuple[str, ...]
    value: int


class Observations(msgspec.Struct, array_like=True):
    """A histogram's growth: one count a bucket (not cumulative, the last for all beyond), and the sum in
    microseconds.
    """

    name: str
    labels: tuple[str, ...]
    counts: list[int]
    sum_us: int


class Reading(msgspec.Struct, array_like=True, frozen=True):
    """An absolute value of this worker, shown until its next report or the end of its connection."""

    name: str
    labels: tuple[str, ...]
    value: float


class WorkerState(msgspec.Struct, array_like=True, frozen=True):
    """Whether the worker takes calls, whether it is on its way out, and the revision it runs."""

    ready: bool
    draining: bool
    revision: int


class Report(msgspec.Struct, array_like=True):
    """From a worker. ``instance`` tells its lives apart; ``answers`` is the last ask that this report
    answers.
    """

    worker: int
    instance: str
    sequence: int
    answers: int
    state: WorkerState
    counts: list[Count]
    observations: list[Observations]
    readings: list[Reading]


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """From the manager: the last report it has taken, and the number of an ask that wants a report now (0:
    none).

    Asks are numbered by the machine's monotonic nanoseconds, so that they grow from one manager to the next.
    """

    acknowledged: int
    ask: int


_Frame = TypeVar("_Frame", Report, Reply)
_encoder: Final = msgspec.msgpack.Encoder()


def encode_frame(frame: Report | Reply) -> bytes:
    """``frame`` behind its length. Raises ValueError beyond ``FRAME_BYTES_MAX``."""
    body = _encoder.encode(frame)
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError("frame too long")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader(Generic[_Frame]):
    """Cuts a stream into frames of one type."""

    __slots__ = ("_buffer", "_decode")

    def __init__(self, frame_type: type[_Frame]) -> None:
        self._buffer = bytearray()
        self._decode: Callable[[bytearray], _Frame] = msgspec.msgpack.Decoder(frame_type).decode

    def feed(self, data: bytes) -> list[_Frame]:
        """The frames that ``data`` completes. Raises ValueError (``msgspec.DecodeError`` is one) on a bad
        stream.
        """
        buffer = self._buffer
        buffer += data
        frames: list[_Frame] = []
        while len(buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(buffer[:_LENGTH_BYTES], "big")
            if length > FRAME_BYTES_MAX:
                raise ValueError("frame too long")
            end = _LENGTH_BYTES + length
            if len(buffer) < end:
                break
            frames.append(self._decode(buffer[_LENGTH_BYTES:end]))
            del buffer[:end]
        return frames
