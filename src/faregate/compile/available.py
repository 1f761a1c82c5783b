"""What the contract promises and this release does not do yet: an error that says so, never silence.

One closed table. A row goes when the part is built.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Final, NamedTuple, TypeAlias

from faregate.compile.walk import ANY, Pattern, matches
from faregate.model.diagnostics import Findings, Value

Applies: TypeAlias = Callable[[Value], bool]


class Missing(NamedTuple):
    """``pattern``: where it is written; ``applies``: whether a value asks for it; ``meanwhile``: what to do
    instead; ``within``: whether it does so in this configuration.
    """

    pattern: Pattern
    applies: Applies
    what: str
    meanwhile: str
    within: Callable[[dict[str, Value]], bool] = bool


def _begins(*starts: str) -> Applies:
    return lambda value: isinstance(value, str) and value.startswith(starts)


_LIMITS: Final = (
    ("plans", ANY, "limits"), ("plans", ANY, "quota"), ("plans", ANY, "concurrency"),
    ("apis", ANY, "limits"), ("apis", ANY, "routes", ANY, "limits"),
    ("apis", ANY, "versions", ANY, "routes", ANY, "limits"),
)  # fmt: skip


def _limits(data: dict[str, Value]) -> bool:
    return any(value not in ([], None) for pattern in _LIMITS for _, value in matches(data, pattern))


NOT_AVAILABLE: Final = (
    Missing(("gateway", "shared"), _begins("redis://", "rediss://"), "limits in a shared Redis",
            "write `shared: embedded`; limits then hold for each machine, and `ledger` may be in Redis",
            _limits),
)  # fmt: skip


def check_available(data: dict[str, Value], findings: Findings) -> None:
    """Reports every place that asks for what does not exist yet, or for an extra that is not installed."""
    for path, value in matches(data, ("gateway", "store")):
        if _begins("postgresql://")(value) and find_spec("psycopg") is None:
            message = "a store in PostgreSQL needs the Python package psycopg"
            findings.add("not_available", path, message, expected="install faregate[postgresql]", at_key=True)
    for row in NOT_AVAILABLE:
        for path, value in matches(data, row.pattern):
            if row.applies(value) and row.within(data):
                key = next(step for step in reversed(path) if isinstance(step, str))
                message = f"`{key}`: {row.what} are not available in this release"
                findings.add("not_available", path, message, expected=row.meanwhile, at_key=True)
