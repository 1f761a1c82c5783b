"""What an audit leaf holds of an act that says more than a leaf may: each part cut with a mark, not refused.

A leaf has at most 32 KiB and no fractions (payments.md section 8), and an act that cannot be recorded must
not happen; so whatever an API may look like, or somebody writes as a reason, has to fit. What is cut is
masked first: half a card number is not known as one.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from faregate.kernel import canonical_json
from faregate.manager.cases.domain import Json
from faregate.records.audit.masked import masked_detail, masked_text

DIFFERENCES_BYTES_MAX: Final = 16 << 10
"""In canonical JSON; behind these the digest and the number of changes stand for all."""
DIFFERENCES_MAX: Final = 200
VALUE_BYTES_MAX: Final = 1 << 10
"""Of one side of a difference."""
PATH_CHARACTERS_MAX: Final = 512
MEMBER_BYTES_MAX: Final = 4 << 10
"""Of any other member of a detail."""
_LOOKED_AT_MAX: Final = 64 << 10
"""A longer text is told by its length alone, for it is not masked as a whole."""
_LEVELS_MAX: Final = 16
_WHOLE_MAX: Final = (1 << 53) - 1
_LEAST: Final = 8
"""What the smallest value takes, with what its mask adds."""
MARK: Final = "…"


class Told(NamedTuple):
    """Differences as a leaf holds them. ``left_out``: how many it does not."""

    shown: list[Json]
    left_out: int


def told_differences(found: Sequence[Mapping[str, Json]]) -> Told:
    """The first of ``found``, as many as fit."""
    shown: list[Json] = []
    left = DIFFERENCES_BYTES_MAX
    for one in found[:DIFFERENCES_MAX]:
        told: dict[str, Json] = {
            "path": _path(str(one["path"])),
            "before": fitted(one["before"], VALUE_BYTES_MAX),
            "after": fitted(one["after"], VALUE_BYTES_MAX),
        }
        left -= _bytes(told) + 1
        if left < 0:
            break
        shown.append(told)
    return Told(shown, len(found) - len(shown))


def fitted_detail(detail: Mapping[str, Json]) -> dict[str, Json]:
    """``detail`` with each member cut to what a leaf has room for; differences are cut before."""
    return {
        name: value if name == "differences" else fitted(value, MEMBER_BYTES_MAX, name)
        for name, value in detail.items()
    }


def fitted(value: Json, bytes_max: int, name: str = "") -> Json:
    """``value`` in about ``bytes_max`` bytes of canonical JSON at most, without what a leaf does not hold.
    ``name``: of the member that it is, which may say that it is to be masked.
    """
    return _Cut(bytes_max).value(value, name, 0)


def _path(path: str) -> str:
    if len(path) <= PATH_CHARACTERS_MAX:
        return path
    if len(path) > _LOOKED_AT_MAX:
        return f"{path.partition('.')[0][:64]}.{MARK} ({len(path)} characters)"
    return masked_text(path)[:PATH_CHARACTERS_MAX] + MARK


def _bytes(value: Json) -> int:
    return len(canonical_json.encode(value).encode("utf-8", "replace"))


class _Cut:
    def __init__(self, left: int) -> None:
        self._left = left

    def value(self, value: Json, name: str, level: int) -> Json:
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, dict | list):
            self._left -= 3
            return self._container(value, name, level)
        if value is None or isinstance(value, bool):
            self._left -= _LEAST
            return value
        if isinstance(value, float) or abs(value) > _WHOLE_MAX:
            return self._text(_number(value), name)
        self._left -= _LEAST + len(str(value))
        return value

    def _container(self, value: dict[str, Json] | list[Json], name: str, level: int) -> Json:
        if level >= _LEVELS_MAX:
            return MARK
        return self._object(value, level) if isinstance(value, dict) else self._list(value, name, level)

    def _object(self, value: dict[str, Json], level: int) -> Json:
        made: dict[str, Json] = {}
        for done, (name, member) in enumerate(value.items()):
            takes = _bytes(name) + 2 if len(name) <= self._left else self._left + 1
            if takes > self._left:
                made[MARK] = f"{len(value) - done} more"
                self._left = 0
                break
            self._left -= takes
            made[name] = self.value(member, name, level + 1)
        return made

    def _list(self, value: list[Json], name: str, level: int) -> Json:
        made: list[Json] = []
        for done, member in enumerate(value):
            if self._left <= 0:
                made.append(f"{MARK} ({len(value) - done} more)")
                break
            made.append(self.value(member, name, level + 1))
        return made

    def _text(self, text: str, name: str) -> Json:
        if len(text) < self._left and (takes := max(_bytes(text), _LEAST)) <= self._left:
            self._left -= takes
            return text
        shown = ""
        if len(text) <= _LOOKED_AT_MAX:
            masked = masked_detail({name: text})[name]
            shown = str(masked)[: max(self._left, 0) // 6]
        self._left = 0
        return f"{shown}{MARK} ({len(text)} characters)"


def _number(value: float) -> str:
    if isinstance(value, int):
        return "a number beyond 2^53" if value.bit_length() > 10_000 else str(value)
    return canonical_json.number(value)
