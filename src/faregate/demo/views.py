"""Three ways to draw a board: live on a terminal, a plain line a second, JSON lines.

A view only draws. What users copy (addresses, curl lines) is printed once, above, and stays in the
scrollback.
"""

import sys
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from faregate.demo.board import Board, Summary
from faregate.demo.folder import Credentials, Folder, Ports

_BAR_CELLS: Final = 16


@dataclass(frozen=True, slots=True)
class Welcome:
    """What is printed once everything listens: where it is, and lines to try by hand."""

    ports: Ports
    folder: Folder
    credentials: Credentials
    notes: tuple[str, ...]
    duration_s: float

    def lines(self) -> list[str]:
        base = f"http://127.0.0.1:{self.ports.gateway}/v2/payments"
        body = (
            '{"amount_minor":1250,"currency":"EUR","reference":"test","card":{"number":"4242424242424242"}}'
        )
        json = "-H 'Content-Type: application/json' -H 'Idempotency-Key: mine-1'"
        return [
            *self.notes,
            f"gateway   http://127.0.0.1:{self.ports.gateway}",
            f"manager   http://127.0.0.1:{self.ports.manager}/metrics",
            f"targets   127.0.0.1:{self.ports.target_1}  127.0.0.1:{self.ports.target_2}",
            f"folder    {self.folder.path}   (faregate.yaml; the log is {self.folder.access_log.name})",
            f"ends      after {self.duration_s:.0f} s, or with Ctrl-C",
            "",
            "Try by hand (development credentials, made just now, good for this demo only):",
            "",
            f"  KEY={self.credentials.api_keys['you']}",
            f"  TOKEN={self.credentials.tokens['you']}",
            f'  curl -i -H "X-API-Key: $KEY" {base}',
            f"  curl -i -H \"Authorization: Bearer $TOKEN\" {json} -d '{body}' {base}",
            "  (the same line again: the same answer, and no second payment)",
            f"  curl -i {base}                      # no credential: 401",
            f"  tail -f {self.folder.access_log}",
            "",
        ]


class View(Protocol):
    """Draws what it is given; ``close`` leaves the terminal as it was."""

    def welcome(self, welcome: Welcome) -> None: ...

    def show(self, board: Board) -> None: ...

    def close(self) -> None: ...

    def summary(self, summary: Summary) -> None: ...


class PlainView:
    """A line a second; for pipes, logs and ``--plain``."""

    def __init__(self) -> None:
        self._second = 0

    def welcome(self, welcome: Welcome) -> None:
        _say("\n".join(welcome.lines()))

    def show(self, board: Board) -> None:
        if board.elapsed_s > self._second:
            self._second = board.elapsed_s
            _say(plain_line(board))

    def close(self) -> None:
        """Nothing to put back."""

    def summary(self, summary: Summary) -> None:
        _say(summary_text(summary))


class JsonView:
    """A JSON object a second, then one with the summary; the welcome is one too."""

    def __init__(self) -> None:
        self._second = 0

    def _print(self, kind: str, value: object) -> None:
        _say(msgspec.json.encode({kind: value}).decode())

    def welcome(self, welcome: Welcome) -> None:
        self._print(
            "started",
            {
                "gateway": f"http://127.0.0.1:{welcome.ports.gateway}",
                "manager": f"http://127.0.0.1:{welcome.ports.manager}",
                "targets": [f"127.0.0.1:{welcome.ports.target_1}", f"127.0.0.1:{welcome.ports.target_2}"],
                "folder": str(welcome.folder.path),
                "api_key": welcome.credentials.api_keys["you"],
                "token": welcome.credentials.tokens["you"],
                "notes": welcome.notes,
            },
        )

    def show(self, board: Board) -> None:
        if board.elapsed_s > self._second:
            self._second = board.elapsed_s
            self._print("now", board)

    def close(self) -> None:
        """Nothing to put back."""

    def summary(self, summary: Summary) -> None:
        self._print("summary", summary)


class LiveView:
    """Redraws a panel in place; nothing runs between two ``show``s (no refresh thread)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def welcome(self, welcome: Welcome) -> None:
        for line in welcome.lines():
            # As it is, without wrapping: these lines are there to be copied.
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._live.start()

    def show(self, board: Board) -> None:
        self._live.update(drawn(board), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def summary(self, summary: Summary) -> None:
        self._console.print(summary_text(summary), markup=False, highlight=False)


def _say(line: str) -> None:
    """One line on standard output, at once. Raises BrokenPipeError when the reader has gone."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def plain_line(board: Board) -> str:
    """A board on one line."""
    targets = ", ".join(
        f"{row.name} {row.status} {row.share:.0%} p50 {row.p50_ms:.1f} ms" for row in board.targets
    )
    current = [f"{row.code} {row.per_second:.0f}/s" for row in board.refusals if row.per_second >= 0.5]
    refused = ", ".join(current) or "none"
    replayed = sum(row.total for row in board.keyed if row.result == "replayed")
    replays = f" | replayed {replayed}" if replayed else ""
    unanswered = f" | no answer {board.not_answered}" if board.not_answered else ""
    return (
        f"{board.elapsed_s:4d} s | {board.calls_per_second:5.0f} calls/s"
        f" | p50 {board.p50_ms:.1f} p99 {board.p99_ms:.1f} ms"
        f" | {targets} | refused: {refused}{replays}{unanswered} | {board.scene}"
    )


def drawn(board: Board) -> Panel:
    """A board as a rich panel."""
    head = Text.assemble(
        (f"{board.calls_per_second:.0f}", "bold"), " calls/s   ",
        "p50 ", (f"{board.p50_ms:.1f} ms", "bold"), "   p99 ", (f"{board.p99_ms:.1f} ms", "bold"),
        f"   no answer {board.not_answered}",
    )  # fmt: skip
    scene = Text.assemble(("now: ", "dim"), (board.scene, "bold yellow"))
    targets = Table(
        "target", "address", "state", "share", "", "calls/s", "p50", box=None, padding=(0, 2, 0, 0)
    )
    for row in board.targets:
        bar = "█" * round(row.share * _BAR_CELLS)
        state = Text(row.status, style="green" if row.status == "up" else "red")
        targets.add_row(
            row.name, row.address, state, f"{row.share:4.0%}", Text(bar.ljust(_BAR_CELLS), style="cyan"),
            f"{row.calls_per_second:.0f}", f"{row.p50_ms:.1f} ms",
        )  # fmt: skip
    refusals = Table("refused because", "a second", "in all", box=None, padding=(0, 2, 0, 0))
    for refusal in board.refusals:
        refusals.add_row(refusal.code, f"{refusal.per_second:.1f}", f"{refusal.total:,}")
    keyed = Table("with a key", "a second", "in all", box=None, padding=(0, 2, 0, 0))
    for row_of_keys in board.keyed:
        keyed.add_row(row_of_keys.result, f"{row_of_keys.per_second:.1f}", f"{row_of_keys.total:,}")
    body = Group(head, scene, Text(), targets, Text(), Columns([refusals, keyed], padding=(0, 4)))
    return Panel(
        body, title=f"faregate demo, {board.elapsed_s} s", subtitle="Ctrl-C ends it", title_align="left"
    )


def summary_text(summary: Summary) -> str:
    """A summary in a few lines."""
    outcomes = ", ".join(f"{count:,} {name}" for name, count in summary.outcomes.items()) or "none"
    refusals = ", ".join(f"{code} {count:,}" for code, count in summary.refusals.items()) or "none"
    calls = f"the callers made {summary.calls_made:,} calls, the access log holds {summary.calls_logged:,}"
    keyed = ", ".join(f"{name} {count:,}" for name, count in summary.keyed.items())
    latency = f"p50 {summary.p50_ms:.1f} ms, p99 {summary.p99_ms:.1f} ms"
    lines = [
        f"ran {summary.duration_s} s; {calls}: {outcomes}",
        f"refused: {refusals}",
        *([f"with an idempotency key: {keyed}"] if keyed else []),
        f"{latency}; no answer: {summary.not_answered}",
    ]
    if summary.unreadable_lines:
        lines.append(f"log lines that could not be read: {summary.unreadable_lines}")
    how = "by themselves" if summary.stopped_by_themselves else "some had to be killed"
    lines.append(f"all processes stopped in {summary.stopped_in_s:.1f} s ({how})")
    return "\n".join(lines)
