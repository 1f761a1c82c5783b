"""What the tree's writer and those who report to it say to each other: MessagePack behind a length.

A reporter sends one batch and waits for its answer, which comes when every record of it is durable. A batch
whose answer did not come is sent ``again``, and the writer then looks whether it has its events already.
"""

import struct
from typing import Final

import msgspec

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 4 << 20
"""Longer ones end the connection."""
LENGTH: Final = struct.Struct("<I")
AWAY: Final = "audit_away"
DISK: Final = "audit_disk"
BROKEN: Final = "audit_refused"


class Batch(msgspec.Struct, array_like=True):
    """``source`` and ``number``: whose batch, and which; ``again``: it may have been kept already.
    ``calls``: ended calls, lines of the access log, several in each; ``entries``: other events, head and
    tail of each (``leaf.Entry``).
    """

    version: int
    source: bytes
    number: int
    again: bool
    calls: list[bytes]
    entries: list[tuple[bytes, bytes]]


class Told(msgspec.Struct, array_like=True):
    """What came of the batch ``number``. ``error``: why nothing of it was kept, a word, or empty.
    ``refused``: calls that are no records. ``kept``: place and hash of each of its entries.
    """

    number: int
    error: str = ""
    refused: int = 0
    kept: list[tuple[int, bytes]] = []


class WireError(Exception):
    """The other end says what is no frame."""


_batch: Final = msgspec.msgpack.Decoder(Batch)
_told: Final = msgspec.msgpack.Decoder(Told)


def framed(message: Batch | Told) -> bytes:
    payload = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(payload)) + payload


def length_of(data: bytes | bytearray, at: int) -> int:
    """Of the payload whose length stands at ``at``. Raises ``WireError``."""
    length = int(LENGTH.unpack_from(data, at)[0])
    if length > FRAME_BYTES_MAX:
        raise WireError(f"a frame of {length} bytes")
    return length


def take_batches(data: bytearray) -> list[Batch]:
    """The whole batches at the beginning of ``data``, which loses them. Raises ``WireError``."""
    batches = []
    at = 0
    while len(data) - at >= LENGTH.size:
        end = at + LENGTH.size + length_of(data, at)
        if len(data) < end:
            break
        batches.append(_read_batch(bytes(data[at + LENGTH.size : end])))
        at = end
    del data[:at]
    return batches


def _read_batch(payload: bytes) -> Batch:
    try:
        batch = _batch.decode(payload)
    except msgspec.MsgspecError as error:
        raise WireError(str(error)) from None
    if batch.version != VERSION:
        raise WireError(f"version {batch.version} of the protocol")
    return batch


def read_told(payload: bytes) -> Told:
    """Raises ``WireError``."""
    try:
        return _told.decode(payload)
    except msgspec.MsgspecError as error:
        raise WireError(str(error)) from None
