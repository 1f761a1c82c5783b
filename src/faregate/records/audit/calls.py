"""An ended call as a record: the members of its access log line, which are masked already.

``type`` is ``call``, ``actor`` the consumer, ``object`` the call's id; the caller's address, which may be a
person's, stands as a keyed hash. The worker hands over the line it has rendered anyway; this runs in the
writer's process, so that an audited call costs the worker no more than that.
"""

import json
from typing import Final

import msgspec

from faregate.records.audit import leaf
from faregate.records.audit.leaf import Entry, LeafError
from faregate.records.masking import keyed_digest

LINE_LENGTH_MAX: Final = 8 << 10
"""Characters; a longer line is cut where callers can make it long."""
_TEXT_LENGTH_MAX: Final = 512
_KEPT_MAX: Final = 4096
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

    def entry(self, line: bytes) -> Entry:
        """Raises ``LeafError`` for what is no line of the access log."""
        try:
            members = _line.decode(line)
        except (msgspec.MsgspecError, ValueError):
            raise LeafError("not a line of the access log") from None
        time, identifier = members.pop("time", None), members.get("request_id")
        if not isinstance(time, str) or not isinstance(identifier, str):
            raise LeafError("a call without time and id")
        consumer = members.get("consumer")
        address = members.get("client_ip")
        if isinstance(address, str):
            members["client_ip"] = self._hashed(address)
        actor = f"consumer:{consumer}" if isinstance(consumer, str) else "caller"
        return leaf.entry("call", actor, f"call:{identifier}", members, f"{time[:-1]}000Z")

    def _hashed(self, address: str) -> str:
        kept = self._kept.get(address)
        if kept is None:
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            kept = self._kept[address] = f"hmac:{keyed_digest(self._digest_key, address.encode())}"
        return kept
