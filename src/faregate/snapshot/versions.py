"""What a snapshot says of an API's versions: where each is in its life, how one is chosen, what lies between
two.

Plain data like ``snapshot.data``, whose records hold these. What they mean to a call stands in
``policies.versions`` and ``policies.transform``.
"""

from faregate.snapshot.frozen import Frozen


class Choice(Frozen, frozen=True):
    """Of a version that callers choose by a header. Equal for all versions of ``api`` but for ``default``.

    ``header``: its name as written. ``default``: the one that is used where neither the caller nor its
    consumer's pin says; ``pinned``: whether pins count.
    """

    api: str
    header: str
    default: bool = False
    pinned: bool = False


class Brownout(Frozen, frozen=True):
    """A planned time in which a version answers 410: ``lasts`` seconds from ``at`` (since the epoch), and
    again each ``every`` seconds; 0: once.
    """

    at: int
    lasts: float
    every: float = 0.0


class Split(Frozen, frozen=True):
    """A share of a version's calls that runs another one's routes. ``version``: its index; ``percent``."""

    version: int
    percent: int


class Operation(Frozen, frozen=True):
    """One small change to a message. ``kind``: rename, move, remove, set_default, wrap, unwrap; or the same
    word of a header, with ``_header`` behind.

    ``at``, ``to``: steps into the JSON body, ``*`` for each item of a list. ``name``: a member's or a
    header's; ``value``: JSON, or a header's value.
    """

    kind: str
    at: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    name: str = ""
    value: bytes = b""


class Version(Frozen, frozen=True):
    """``state``: draft, active, deprecated or retired. Times: seconds since the epoch, 0 = not given; from
    ``retired_at`` it is retired whatever ``state`` says.

    ``path``: what its routes begin with. ``successor``: the path of the version that follows, or empty;
    ``successor_name``: its name, where the path does not tell. ``notice``: a page for people, or empty.
    """

    name: str
    path: str
    state: str = "active"
    deprecated_at: int = 0
    sunset_at: int = 0
    successor: str = ""
    preview: tuple[str, ...] = ()
    retired_at: int = 0
    successor_name: str = ""
    notice: str = ""
    brownouts: tuple[Brownout, ...] = ()
    splits: tuple[Split, ...] = ()
    choice: Choice | None = None
