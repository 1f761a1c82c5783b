"""What the admin API calls a member, as the command line has it: its answers name options, and durations as
these take them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

REASON: Final = {"body.reason": "--reason", "header.x-faregate-reason": "--reason"}
ENTRY: Final = {**REASON, "body.team": "--team", "header.if-match": "--etag"}
KEY: Final = {
    **REASON,
    "path.credential": "ID",
    "path.name": "CONSUMER",
    "body.overlap_s": "--overlap",
    "body.life_s": "--expires",
    "body.mode": "--mode",
    "body.note": "--note",
}
APPLY: Final = {
    **REASON,
    "body.team": "--team",
    "body.percent": "--canary",
    "body.consumers": "--consumers",
    "body.for_s": "--for",
}
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def as_options(
    diagnostics: Sequence[Mapping[str, Any]], options: Mapping[str, str]
) -> Sequence[Mapping[str, Any]]:
    """``diagnostics`` with the names that the command line has for members."""
    return [_as_option(one, options) for one in diagnostics]


def _as_option(one: Mapping[str, Any], options: Mapping[str, str]) -> Mapping[str, Any]:
    path = str(one.get("path", ""))
    name = options.get(path.partition("[")[0], "")
    if not name:
        return one
    words = str(one.get("expected", "")).split()
    if path.endswith("_s"):
        words = [_duration(int(word)) if word.isdecimal() else word for word in words]
    return {**one, "path": name, "expected": " ".join(words)}


def _duration(seconds: int) -> str:
    """``7d`` of 604,800: the largest unit that leaves nothing over."""
    size, unit = next((one for one in _UNITS if seconds and seconds % one[0] == 0), _UNITS[-1])
    return f"{seconds // size}{unit}"
