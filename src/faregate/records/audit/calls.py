"""An ended call as a record: the members of its access log line, which are masked already.

``type`` is ``call``, ``actor`` the consumer, ``object`` the call's id; the caller's address, which may be a
person's, stands as a keyed hash. The worker hands over the line it has rendered anyway; this runs in the
writer's process, so that an audited call costs the worker no more than that.
"""

import json
from typing import Annotated, Final, TypeAlias

import msgspec

from faregate.records.audit import leaf
from faregate.records.audit.leaf import Entry, LeafError
from faregate.records.masking import keyed_digest

LINE_LENGTH_MAX: Final = 8 << 10
"""Characters; a longer line is cut where callers can make it long."""
_TYPE: Final = "call"
_CALLER: Final = b'"caller"'
_TEXT_LENGTH_MAX: Final = 512
_KEPT_MAX: Final = 4096
_Plain: TypeAlias = bool | str | Annotated[int, msgspec.Meta(ge=-leaf.WHOLE_MAX, le=leaf.WHOLE_MAX)] | None
_Member: TypeAlias = _Plain | list[_Plain] | dict[str, _Plain]
_plain: Final = msgspec.json.Decoder(dict[str, _Member])
"""Nearly every line; it checks as it reads what ``leaf.entry`` would go through member by member."""
_line: Final = msgspec.json.Decoder(dict[str, object])


def shortened(lines: list[str]) -> list[str]:
    """``lines`` with those that are very long cut in their texts."""
    return [line if len(line) <= LINE_LENGTH_MAX else _short(line) for line in lines]


def _short(line: str) -> str:
    members = json.loads(line)
    cut = {
        name: f"{value[:_TEXT_LENGTH_MAX]}..."
        if isinstance(value, str) and len(value) > _TEXT_LENGTH_MAX
        else value
        for name, value in members.items()
    }
    return json.dumps(cut, ensure_ascii=False) + "\n"


class CallRecords:
    """Makes entries of lines. ``digest_key``: of the data folder."""

    def __init__(self, digest_key: bytes) -> None:
        self._digest_key = digest_key
        self._kept: dict[str, str] = {}
        self._actors: dict[str, bytes] = {}

    def entry(self, line: bytes) -> Entry:
        """Raises ``LeafError`` for what is no line of the access log."""
        try:
            members: dict[str, _Member] = _plain.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._careful(line)
        time, about = self._prepared(members)
        consumer = members.get("consumer")
        if len(about) > leaf.TEXT_LENGTH_MAX:
            return self._careful(line)
        actor = self._actor(consumer) if isinstance(consumer, str) else _CALLER
        return leaf.assembled(_TYPE, actor, leaf.canonical(about), leaf.canonical(members), time)

    def _careful(self, line: bytes) -> Entry:
        """The same of any line: what no record may hold is told by name."""
        try:
            members = _line.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise LeafError("not a line of the access log") from None
        time, about = self._prepared(members)
        consumer = members.get("consumer")
        actor = f"consumer:{consumer}" if isinstance(consumer, str) else "caller"
        return leaf.entry(_TYPE, actor, about, members, time)

    def _prepared(self, members: "dict[str, _Member] | dict[str, object]") -> tuple[str, str]:
        """Time and object of the record; ``members`` lose the one and the caller's address."""
        time, identifier = members.pop("time", None), members.get("request_id")
        if not isinstance(time, str) or not isinstance(identifier, str):
            raise LeafError("a call without time and id")
        address = members.get("client_ip")
        if isinstance(address, str):
            members["client_ip"] = self._hashed(address)
        return f"{time[:-1]}000Z", f"call:{identifier}"

    def _actor(self, consumer: str) -> bytes:
        kept = self._actors.get(consumer)
        if kept is None:
            name = f"consumer:{consumer}"
            if len(name) > leaf.TEXT_LENGTH_MAX:
                raise LeafError(f"actor: 1 to {leaf.TEXT_LENGTH_MAX} characters are expected")
            if len(self._actors) >= _KEPT_MAX:
                self._actors.clear()
            kept = self._actors[consumer] = leaf.canonical(name)
        return kept

    def _hashed(self, address: str) -> str:
        kept = self._kept.get(address)
        if kept is None:
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            kept = self._kept[address] = f"hmac:{keyed_digest(self._digest_key, address.encode())}"
        return kept
