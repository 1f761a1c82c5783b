"""Which version a call gets, and whether that version still answers.

Pure: a header's value, a consumer's pin, an API's default and the hour go in; a name, an index or a refusal
comes out. The gateway finds the routes of what was chosen (``gateway.choosing``), ``faregate try`` asks the
same functions. A caller's header counts first, then its consumer's pin, then the default (payments.md
section 6).
"""

import math
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from hashlib import blake2b
from typing import Final, NamedTuple

from faregate.kernel.problems import Refusal, Retry
from faregate.snapshot.call import Call, ReadyConsumer, Step
from faregate.snapshot.versions import Brownout, Choice, Version

BY_HEADER: Final = "header"
BY_PIN: Final = "pin"
BY_DEFAULT: Final = "default"

VALUE_BYTES_MAX: Final = 128


class Chosen(NamedTuple):
    """``name``: of the version; empty where the caller named none of the API's. ``by``: header, pin or
    default.
    """

    name: str
    by: str


class Chooser:
    """How the version of a call to one API is chosen, where callers do so by a header."""

    __slots__ = ("_line", "_pinned", "api", "default", "header", "names")

    def __init__(self, versions: Iterable[Version]) -> None:
        """``versions``: all of the API."""
        chosen = [(version, version.choice) for version in versions if version.choice is not None]
        choice: Choice = chosen[0][1]
        self.api = choice.api
        self.header = choice.header
        self.names = frozenset(version.name for version, _ in chosen)
        self.default = next(version.name for version, how in chosen if how.default)
        self._pinned = choice.pinned
        self._line = b"\n%b:" % choice.header.lower().encode("ascii")

    @property
    def asks_consumer(self) -> bool:
        """Whether who calls decides where the header is absent."""
        return self._pinned

    def value_of(self, section: bytes) -> str | None:
        """What a field section says: the header's value, None where it is absent, empty where it is doubled
        or can be no name.
        """
        lines = b"\n" + section.lower()
        at = lines.find(self._line)
        if at < 0:
            return None
        begins = at + len(self._line)  # in ``section`` all stands one byte earlier
        if lines.find(self._line, begins) >= 0:
            return ""
        value = section[begins - 1 : lines.find(b"\n", begins) - 1].strip(b" \t\r")
        return value.decode("ascii", "replace") if len(value) <= VALUE_BYTES_MAX else ""

    def choose(self, value: str | None, consumer: ReadyConsumer | None = None) -> Chosen:
        """The version for a header's ``value`` (as of ``value_of``) and, where it is absent, a consumer."""
        if value is not None:
            return Chosen(value if value in self.names else "", BY_HEADER)
        if self._pinned and consumer is not None:
            pin = consumer.pins.get(self.api)
            if pin is not None:
                return Chosen(pin, BY_PIN)
        return Chosen(self.default, BY_DEFAULT)

    def unknown(self, call: Call) -> Refusal:  # noqa: ARG002 - a step
        """The header names no version of this API."""
        return unknown_version(self.header)


def split_key(call: Call) -> bytes:
    """What keeps a caller on one side of a split: its consumer, else its address."""
    identity = call.identity
    return call.client_ip.encode() if identity is None else identity.consumer.name.encode()


def split_to(api: str, version: Version, key: bytes) -> int | None:
    """The index of the version whose routes run a call of ``version``, or None for its own.

    Sticky: the same key stays where it is, on every machine, and a share that grows only moves keys towards
    the other version.
    """
    if not version.splits:
        return None
    digest = blake2b(b"%b\0%b\0%b" % (api.encode(), version.name.encode(), key), digest_size=8).digest()
    place = int.from_bytes(digest, "big") % 100
    for split in version.splits:
        if place < split.percent:
            return split.version
        place -= split.percent
    return None


def lifecycle(version: Version) -> Step | None:
    """A step that ends calls of a version that does not answer (any more, or just now); None where the
    version always does.
    """
    if version.state == "retired":
        return _retired
    if version.retired_at or version.brownouts:
        return Lifetime(version.retired_at, version.brownouts)
    return None


def _retired(call: Call) -> Refusal:  # noqa: ARG001 - every call of such a version; its headers hold the successor's link
    return Refusal("version_retired", reason="version_retired")


class Lifetime:
    """A step: nothing to do until ``_quiet_until``, which is worked out once and again when it has passed."""

    __slots__ = ("_brownouts", "_quiet_from", "_quiet_until", "_retired_at")

    def __init__(self, retired_at: int, brownouts: Sequence[Brownout]) -> None:
        self._retired_at = retired_at or math.inf
        self._brownouts = brownouts
        self._quiet_from = self._quiet_until = 0.0

    def __call__(self, call: Call) -> Refusal | None:
        wall = call.wall
        if self._quiet_from <= wall < self._quiet_until:
            return None
        return self._judge(wall)

    def _judge(self, wall: float) -> Refusal | None:
        if wall >= self._retired_at:
            return Refusal("version_retired", reason="version_retired")
        ends = max((_ends(one, wall) for one in self._brownouts), default=0.0)
        if ends > wall:
            return Refusal(
                "version_retired",
                reason="brownout",
                retry_after=max(1, math.ceil(min(ends, self._retired_at) - wall)),
                retry=Retry.AFTER,
                detail="This version of the API does not answer for a while, as it is to be retired; "
                "see Link for its successor.",
            )
        self._quiet_from = wall
        self._quiet_until = min([self._retired_at, *(_begins(one, wall) for one in self._brownouts)])
        return None


def _ends(brownout: Brownout, wall: float) -> float:
    """When the one that is on at ``wall`` ends; 0 when none is."""
    begins = brownout.at
    if wall < begins:
        return 0.0
    since = (wall - begins) % brownout.every if brownout.every else wall - begins
    return wall + brownout.lasts - since if since < brownout.lasts else 0.0


def _begins(brownout: Brownout, wall: float) -> float:
    """When the next one begins after ``wall``."""
    if wall < brownout.at:
        return brownout.at
    if not brownout.every:
        return math.inf
    return brownout.at + brownout.every * (math.floor((wall - brownout.at) / brownout.every) + 1)


def draft_step(version: Version) -> Step | None:
    """A step that hides a draft from all but those who preview it; None for other versions."""
    if version.state != "draft":
        return None
    preview, choice = frozenset(version.preview), version.choice

    def step(call: Call) -> Refusal | None:
        identity = call.identity
        if identity is not None and identity.consumer.name in preview:
            return None
        # to all others a draft does not exist
        return (
            Refusal("no_route", reason="draft_version") if choice is None else unknown_version(choice.header)
        )

    return step


def unknown_version(header: str) -> Refusal:
    """The header names no version of the API, or none for this caller."""
    return Refusal(
        "validation_failed",
        reason="unknown_version",
        parameter=header,
        detail=f"The header {header} names no version of this API.",
    )


def lifecycle_headers(version: Version) -> bytes:
    """What every answer of a version says of its life: Deprecation (RFC 9745), Sunset (RFC 8594), links to
    its successor and to what is said about it.

    Dates are told as soon as they are set, also ahead; the successor of a version that nobody leaves yet is
    not.
    """
    lines = b""
    if version.deprecated_at:
        lines += b"Deprecation: @%d\r\n" % version.deprecated_at
    sunset = version.sunset_at or version.retired_at
    if sunset:
        lines += b"Sunset: %b\r\n" % formatdate(sunset, usegmt=True).encode()
    if not lines and version.state not in {"deprecated", "retired"}:
        return b""
    if version.successor:
        title = b'; title="%b"' % version.successor_name.encode() if version.successor_name else b""
        lines += b'Link: <%b>; rel="successor-version"%b\r\n' % (version.successor.encode(), title)
    if version.notice:
        lines += b'Link: <%b>; rel="deprecation"; type="text/html"\r\n' % version.notice.encode()
        if sunset:
            lines += b'Link: <%b>; rel="sunset"; type="text/html"\r\n' % version.notice.encode()
    return lines
