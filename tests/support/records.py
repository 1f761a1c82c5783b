"""What the gateway wrote about its calls: the access log and the metrics page, read as an operator's tools would.

The log is followed from where it was last read; nothing is skipped, and a line that is not one JSON object with the
fields of SPEC section 4 in their order is an error at once.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

Line: TypeAlias = dict[str, object]

FIELDS: Final = [
    "time",
    "request_id",
    "trace_id",
    "client_ip",
    "consumer",
    "credential",
    "api",
    "version",
    "version_asked",
    "route",
    "method",
    "path",
    "status",
    "outcome",
    "refusal",
    "reason",
    "upstream",
    "target",
    "attempts",
    "duration_us",
    "upstream_us",
    "gateway_us",
    "request_bytes",
    "response_bytes",
    "idempotency",
    "tls",
    "revision",
    "request_body",
    "response_body",
]
_RANK: Final = {name: rank for rank, name in enumerate(FIELDS)}
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_SAMPLE: Final = re.compile(r"([a-z_][a-z0-9_]*)(?:\{(.*)\})? ([-+0-9.eE]+|NaN|\+Inf)")
_LABEL: Final = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def parse_line(text: str) -> Line:
    """One line of ``access.jsonl``. Raises AssertionError when its form breaks SPEC section 4."""
    pairs = json.loads(text, object_pairs_hook=list)
    names = [name for name, _ in pairs]
    unknown = [name for name in names if name not in _RANK]
    assert not unknown, f"unknown fields {unknown}: {text}"
    assert names == sorted(set(names), key=_RANK.__getitem__), f"fields out of order or doubled: {text}"
    line: Line = json.loads(text)
    assert _TIME.fullmatch(str(line["time"])), text
    empty = [name for name, value in line.items() if value is None or value == ""]
    assert not empty, f"absent fields {empty} must be left out: {text}"
    return line


class AccessLog:
    """Follows one ``access.jsonl``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._partial = b""
        self.lines: list[Line] = []

    def read(self) -> list[Line]:
        """Takes in what was written since; returns all lines so far."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
            self._offset += len(new)
            *whole, self._partial = (self._partial + new).split(b"\n")
            self.lines += [parse_line(text.decode()) for text in whole]
        return self.lines

    def wait(self, holds: Callable[[list[Line]], bool], what: str, timeout_s: float = 5.0) -> list[Line]:
        """Reads until ``holds``. Raises AssertionError naming ``what``."""
        deadline = time.monotonic() + timeout_s
        while not holds(self.read()):
            assert time.monotonic() < deadline, (
                f"access log never showed {what}; last lines: {self.lines[-3:]}"
            )
            time.sleep(0.01)
        return self.lines

    def of(self, request_id: str, timeout_s: float = 5.0) -> Line:
        """The one line of ``request_id``. Raises AssertionError when it does not come, or is not the only one."""
        self.wait(
            lambda lines: any(line["request_id"] == request_id for line in lines), request_id, timeout_s
        )
        found = [line for line in self.lines if line["request_id"] == request_id]
        assert len(found) == 1, found
        return found[0]


def parse_metrics(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Prometheus text 0.0.4: value by name and labels. Raises AssertionError on a line of another form."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match is not None, line
            key = (match[1], frozenset(_LABEL.findall(match[2] or "")))
            assert key not in samples, f"doubled series {line}"
            samples[key] = float(match[3])
    return samples


def total(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    """The sum over all series of ``name`` that carry ``labels``."""
    wanted = set(labels.items())
    return sum(value for (key, has), value in samples.items() if key == name and wanted <= has)
