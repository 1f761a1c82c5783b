"""What worker and manager say to each other over the feed's socket: MessagePack behind a length.

A worker sends reports: deltas of its counts, absolute readings, its state. The manager acknowledges each by
its number and may ask for one now. A report that was not acknowledged is sent again under the same number
after a reconnect, and its number tells the manager that it has it already: no count is lost or doubled while
either end lives. A route's labels are sent once a connection; after that a number stands for them.
"""

from typing import TYPE_CHECKING, Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec

from faregate.records.families import DURATION_BUCKETS_US, GATEWAY_BUCKETS_US

if TYPE_CHECKING:
    from collections.abc import Callable

# A route's counts in one row: a place a bucket of its three histograms, then two sums in microseconds.
DURATIONS_AT: Final = 0
UPSTREAMS_AT: Final = DURATIONS_AT + len(DURATION_BUCKETS_US) + 1
GATEWAYS_AT: Final = UPSTREAMS_AT + len(DURATION_BUCKETS_US) + 1
DURATION_SUM: Final = GATEWAYS_AT + len(GATEWAY_BUCKETS_US) + 1
UPSTREAM_SUM: Final = DURATION_SUM + 1
ROUTE_PLACES: Final = UPSTREAM_SUM + 1

RouteLabels: TypeAlias = tuple[str, str, str]
"""Api, version, route."""
Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=ROUTE_PLACES)]
Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

BUCKET_MAX: Final = 8 * 28
"""The last bucket of a canary's durations."""

FRAME_BYTES_MAX: Final = 16 << 20
_LENGTH_BYTES: Final = 4


class Count(msgspec.Struct, array_like=True):
    """A counter's growth since the report before."""

    name: str
    labels: tuple[str, ...]
    value: int


class RouteGrowth(msgspec.Struct, array_like=True, gc=False):
    """A route's growth since the report before.

    ``number``: which of the connection's label sets it has. ``counts``: the places that grew, each by how
    much. ``ends``: calls by status class and outcome with a space between: ``2xx answered``.
    """

    number: Natural
    counts: dict[Place, int]
    ends: dict[str, Natural]


class Reading(msgspec.Struct, array_like=True, frozen=True):
    """An absolute value of this worker, shown until its next report or the end of its connection."""

    name: str
    labels: tuple[str, ...]
    value: float


class UsageGrowth(msgspec.Struct, array_like=True, gc=False):
    """Calls of one credential to one version of an API since the row before.

    ``errors``: those answered by 400 or more, or not at all. ``seen``: when the last one began, in seconds
    since the epoch; ``status_class``: how that was answered, 0 for not at all.
    """

    consumer: str
    credential: str
    api: str
    version: str
    calls: Natural
    errors: Natural
    seen: float
    status_class: Natural


class ArmCounts(msgspec.Struct, array_like=True, frozen=True):
    """What came of the calls of one of two revisions in this worker since the canary of number ``canary``
    began there: a running count, not a growth. ``buckets``: durations by ``gateway.canary.bucket_of``.
    """

    canary: Natural
    calls: Natural
    failures: Natural
    buckets: dict[Annotated[int, msgspec.Meta(ge=0, le=BUCKET_MAX)], Natural]


class WorkerState(msgspec.Struct, array_like=True, frozen=True):
    """Whether the worker takes calls, whether it is on its way out, and the revision it runs."""

    ready: bool
    draining: bool
    revision: int


class Report(msgspec.Struct, array_like=True):
    """From a worker. ``instance`` tells its lives apart; ``answers`` is the last ask that this report
    answers.

    ``arms``: while a canary runs, of the running revision and of the canary.
    ``labels`` are the label sets numbered from ``first`` on; ``first`` 0 makes all earlier ones void.
    """

    worker: int
    instance: str
    sequence: int
    answers: int
    state: WorkerState
    counts: list[Count]
    routes: list[RouteGrowth]
    readings: list[Reading]
    labels: list[RouteLabels] = []
    first: Natural = 0
    usage: list[UsageGrowth] = []
    arms: list[ArmCounts] = []


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
