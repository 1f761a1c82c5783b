"""Since when a version is deprecated: where nobody says, from the day on which it was made so by the manager.

Without `deprecated_at` answers would carry no `Deprecation` field. A version that is deprecated keeps its day
until another is told, so that a file without one can be applied again and changes nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from faregate.manager.cases.domain import Change, Json

_DAY_CHARACTERS = 10


def dated(change: Change, now_ms: int) -> Change:
    """``change`` with the day for each version that it deprecates without one; days are those of UTC. None is
    written after a `sunset_at`.
    """
    if change.section != "apis" or change.after is None:
        return change
    versions, former = _mapping(change.after.get("versions")), _mapping((change.before or {}).get("versions"))
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date().isoformat()
    fresh: dict[str, Json] = {}
    for name, one in versions.items():
        day = _day(_mapping(one), _mapping(former.get(name)), today)
        if day is not None:
            fresh[name] = {**_mapping(one), "deprecated_at": day}
    return replace(change, after={**change.after, "versions": {**versions, **fresh}}) if fresh else change


def _day(version: Mapping[str, Json], former: Mapping[str, Json], today: str) -> Json:
    """What is to be written, None for nothing."""
    if version.get("state") != "deprecated" or "deprecated_at" in version:
        return None
    day = former.get("deprecated_at") if former.get("state") == "deprecated" else today
    sunset = version.get("sunset_at")
    return None if isinstance(sunset, str) and sunset[:_DAY_CHARACTERS] < str(day)[:_DAY_CHARACTERS] else day


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
