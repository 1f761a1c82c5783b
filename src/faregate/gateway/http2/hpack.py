"""Field blocks: their instructions walked and counted first, then decoded by jh2; and written.

The native decoder of jh2 is quick, but it bounds neither the number of fields nor what each costs to keep,
and it panics on strings that end behind the block. So ``walk`` reads every instruction's frame before any is
carried out (http-rules.md H04, H10): what it lets pass is whole, few and in order. The rest, indices and
Huffman codes, the decoder judges. From ``jh2.connection`` since that is where the package itself chooses
between its native and its Python form.
"""

from typing import Final, Protocol, cast

from jh2.connection import Decoder, Encoder, HPACKError, OversizedHeaderListError

from faregate.gateway.http2.frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    HEADER_LIST_BYTES_MAX,
    TABLE_BYTES_MAX,
    ConnectionFault,
)

FIELD_OVERHEAD_BYTES: Final = 32
"""RFC 9113 section 6.5.2."""
_PSEUDO_FIELDS: Final = 4
_INTEGER_BYTES_MAX: Final = 4
"""Behind the prefix: up to 2^28, far more than any length or index that can be meant."""
_SIZE_UPDATES_MAX: Final = 2
"""RFC 7541 section 4.2: the smallest size since the last block, then the present one."""
_FEW_FIELDS: Final = 12
_SHORT_BLOCK_BYTES: Final = 4096
"""Within both, a list cannot be too long: 12 x 4 KiB out of the tables, and 8/5 of the block's bytes."""


class _Decoder(Protocol):
    max_header_list_size: int
    max_allowed_table_size: int

    def decode(self, data: bytes, raw: bool) -> list[tuple[bytes, ...]]: ...  # noqa: FBT001 - jh2's own


class _Encoder(Protocol):
    header_table_size: int

    def encode(self, headers: list[tuple[bytes, bytes, bool]], huffman: bool) -> bytes: ...  # noqa: FBT001 - likewise


class FieldReader:
    """The field blocks of one direction of one connection, in order."""

    __slots__ = ("_decode",)

    def __init__(self) -> None:
        decoder = cast("_Decoder", Decoder())
        decoder.max_header_list_size = HEADER_LIST_BYTES_MAX
        decoder.max_allowed_table_size = TABLE_BYTES_MAX
        self._decode = decoder.decode

    def read(self, block: bytes, fields_max: int) -> list[tuple[bytes, ...]]:
        """Name and value of each field. Raises ``ConnectionFault``: the table is out of step from then on."""
        walk(block, fields_max + _PSEUDO_FIELDS)
        try:
            fields = self._decode(block, True)  # noqa: FBT003 - jh2's own
        except OversizedHeaderListError:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "field_list_too_long") from None
        except HPACKError:
            raise ConnectionFault(COMPRESSION_ERROR, "field_block") from None
        if len(fields) <= _FEW_FIELDS and len(block) <= _SHORT_BLOCK_BYTES:
            return fields
        size = FIELD_OVERHEAD_BYTES * len(fields)
        for field in fields:
            size += len(field[0]) + len(field[1])
        if size > HEADER_LIST_BYTES_MAX:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "field_list_too_long")
        return fields


class FieldWriter:
    """The field blocks that we send on one connection, in order."""

    __slots__ = ("_encode", "_encoder", "_table_bytes")

    def __init__(self) -> None:
        self._encoder = cast("_Encoder", Encoder())
        self._encode = self._encoder.encode
        self._table_bytes = TABLE_BYTES_MAX

    def write(self, fields: list[tuple[bytes, bytes, bool]]) -> bytes:
        """One block; the third member keeps a field out of every table."""
        return self._encode(fields, True)  # noqa: FBT003 - jh2's own

    def limit_table(self, table_bytes: int) -> None:
        """The peer keeps no larger table. It never grows again: one change to tell, and memory saved."""
        if table_bytes < self._table_bytes:
            self._table_bytes = self._encoder.header_table_size = table_bytes


def walk(block: bytes, fields_max: int) -> None:
    """Reads the instructions of a field block without carrying them out. Raises ``ConnectionFault``."""
    at, end = 0, len(block)
    fields = updates = 0
    while at < end:
        byte = block[at]
        if byte & 0x80:  # an indexed field
            at = at + 1 if byte != 0xFF else _past_integer(block, at + 1, end)
        elif byte & 0xE0 == 0x20:  # a change of the table's size
            updates += 1
            if fields or updates > _SIZE_UPDATES_MAX:
                raise ConnectionFault(COMPRESSION_ERROR, "table_size_update")
            at = at + 1 if byte != 0x3F else _past_integer(block, at + 1, end)
            continue
        else:
            mask = 0x3F if byte & 0x40 else 0x0F
            index = byte & mask
            if index == mask:
                at = _past_integer(block, at + 1, end)
            else:
                at += 1
                if not index:
                    at = _past_string(block, at, end)
            at = _past_string(block, at, end)
        fields += 1
        if fields > fields_max:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too_many_fields")


def _past_integer(block: bytes, at: int, end: int) -> int:
    """Where the bytes of an integer behind its full prefix end."""
    last = min(end, at + _INTEGER_BYTES_MAX)
    while at < last:
        if block[at] < 0x80:
            return at + 1
        at += 1
    raise ConnectionFault(COMPRESSION_ERROR, "integer")


def _past_string(block: bytes, at: int, end: int) -> int:
    """Where a string literal ends, which must not be behind the block."""
    if at >= end:
        raise ConnectionFault(COMPRESSION_ERROR, "string")
    length = block[at] & 0x7F
    at += 1
    if length == 0x7F:
        begin, at = at, _past_integer(block, at, end)
        for place in range(at - begin):
            length += (block[begin + place] & 0x7F) << (7 * place)
    at += length
    if at > end:
        raise ConnectionFault(COMPRESSION_ERROR, "string")
    return at
