"""What ``faregate doctor`` found: the type, and how it is shown.

A check answers with findings and prints nothing. Levels: ``ok``; ``warning``: the gateway runs, but worse or
not for long; ``problem``: it will not start, or refuses calls at once. Texts name places, counts and causes,
never a value of the configuration that could be secret, so that a report can be handed on.
"""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from faregate import VERSION


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """``check``: a stable word for programs; ``advice``: what to do, empty when nothing needs doing."""

    level: Level
    check: str
    message: str
    advice: str = ""


COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


def ok(check: str, message: str) -> Finding:
    return Finding(Level.OK, check, message)


def warning(check: str, message: str, advice: str) -> Finding:
    return Finding(Level.WARNING, check, message, advice)


def problem(check: str, message: str, advice: str) -> Finding:
    return Finding(Level.PROBLEM, check, message, advice)


def count(findings: Sequence[Finding], level: Level) -> int:
    return sum(finding.level is level for finding in findings)


def as_json(findings: Sequence[Finding]) -> str:
    """One object: the version, how many of each kind, and every finding."""
    return json.dumps(
        {
            "faregate": VERSION,
            "problems": count(findings, Level.PROBLEM),
            "warnings": count(findings, Level.WARNING),
            "findings": [finding._asdict() for finding in findings],
        },
        indent=2,
    )


def verdict(findings: Sequence[Finding]) -> str:
    """The last line of the report."""
    problems, warnings = count(findings, Level.PROBLEM), count(findings, Level.WARNING)
    if not problems and not warnings:
        return "fit to run the gateway"
    told = _several(problems, "problem"), _several(warnings, "warning")
    return (
        f"{'not fit' if problems else 'fit'} to run the gateway: {', '.join(part for part in told if part)}"
    )


def _several(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""


def megabytes(size_bytes: int) -> str:
    """``1.5 GiB`` or ``12 MiB``."""
    return f"{size_bytes / (1 << 30):.1f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes >> 20} MiB"
