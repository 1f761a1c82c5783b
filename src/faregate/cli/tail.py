"""``faregate tail [FILTER]``: the calls as they end, from the access log, until Ctrl-C.

Follows the log over rotation. FILTER picks calls: ``consumer=acme status>=500 route~payments``. Exit status
0: it was ended; 1: there is no log; 2: wrong usage.
"""

import json as json_text
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from faregate.cli.managing import DEFAULT

LOG: Final = "access.jsonl"
LOOK_S: Final = 0.2
BLOCK_BYTES: Final = 1 << 20
LINE_BYTES_MAX: Final = 8 << 20
BEFORE_BYTES: Final = 4 << 20
"""How far back the first lines are looked for."""
_COLOURS: Final = {"2": "32", "3": "36", "4": "33", "5": "31"}


def command(  # noqa: PLR0913, PLR0917 - one value per option
    filter: Annotated[str, typer.Argument(help="Such as: consumer=acme status>=500")] = "",  # noqa: A002 - its name
    before: Annotated[str, typer.Option(help="So many calls that ended before.")] = "10",
    no_follow: Annotated[bool, typer.Option("--no-follow", help="End with the last line.")] = False,
    config: Annotated[Path, typer.Option(help="The gateway's configuration file.")] = DEFAULT,
    data: Annotated[
        Path | None, typer.Option(help="The gateway's data folder, in place of its file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the lines as they are.")] = False,
) -> None:
    """Follow the calls as they end."""
    from faregate.cli.data_folders import folder_of
    from faregate.cli.errors import CommandError
    from faregate.records.filtering import FilterError, parse

    try:
        wanted = parse(filter)
    except FilterError as error:
        raise CommandError(f"the filter: {error}", 2) from None
    if not (before.isascii() and before.isdigit() and len(before) < 7):
        raise CommandError(f"--before: {before!r} is no number of calls", 2)
    path = folder_of(config, data) / LOG
    if not path.exists():
        raise CommandError(f"there is no {path}")
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    with suppress(KeyboardInterrupt, BrokenPipeError):
        first = [text for text in _last(path) if (line := _read(text)) is not None and wanted(line)]
        count = int(before)
        begin = path.stat()
        for text in first[-count:] if count else []:
            _show(text, json=json, colour=colour)
        if no_follow:
            return
        for text in follow(path, begin.st_ino, begin.st_size):
            line = _read(text)
            if line is not None and wanted(line):
                _show(text, json=json, colour=colour)


def _last(path: Path) -> list[bytes]:
    """The last whole lines."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - BEFORE_BYTES))
        lines = file.read(BEFORE_BYTES).split(b"\n")
    return [line for line in (lines[1:] if size > BEFORE_BYTES else lines)[:-1] if line]


def follow(path: Path, inode: int, at: int, *, sleep: Any = time.sleep) -> Iterator[bytes]:
    """The lines behind byte ``at`` of the file ``inode``, and of every file that takes its place."""
    file = path.open("rb")
    try:
        if os.fstat(file.fileno()).st_ino == inode:
            file.seek(at)
        held = b""
        while True:
            part = file.read(BLOCK_BYTES)
            if part:
                *lines, held = (held + part).split(b"\n")
                if len(held) > LINE_BYTES_MAX:
                    held = b""
                yield from (line for line in lines if line)
                continue
            size, own = _state(path)
            if own != os.fstat(file.fileno()).st_ino and own:  # rotated, and read to its end
                file.close()
                file = path.open("rb")
                held = b""
                continue
            if size < file.tell():  # cut
                file.seek(0)
                held = b""
                continue
            sys.stdout.flush()
            sleep(LOOK_S)
    finally:
        file.close()


def _state(path: Path) -> tuple[int, int]:
    """Size and inode, zeros where there is none just now."""
    try:
        state = path.stat()
    except OSError:
        return sys.maxsize, 0
    return state.st_size, state.st_ino


def _read(text: bytes) -> Mapping[str, Any] | None:
    try:
        line = json_text.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _show(text: bytes, *, json: bool, colour: bool) -> None:
    if json:
        print(text.decode("utf-8", "replace"), flush=True)
        return
    line = _read(text) or {}
    print(in_words(line, colour=colour), flush=True)


def in_words(line: Mapping[str, Any], *, colour: bool = False) -> str:
    """One call on one line."""
    status = str(line.get("status", "---"))
    shown = f"\x1b[{_COLOURS.get(status[:1], '0')}m{status}\x1b[0m" if colour else status
    words = [
        str(line.get("time", ""))[11:23],
        shown,
        str(line.get("method", "-")),
        _safe(line.get("path", "-")),
    ]
    words.append(_safe(line.get("consumer", "-")))
    if line.get("target"):
        words.append(f"-> {_safe(line['target'])}")
    if "duration_us" in line:
        words.append(f"{line['duration_us'] / 1000:.1f} ms")
    if line.get("refusal"):
        words.append(f"{line['refusal']} ({_safe(line.get('reason', ''))})")
    elif line.get("outcome") not in {None, "answered"}:
        words.append(str(line["outcome"]))
    if line.get("idempotency"):
        words.append(f"key {line['idempotency']}")
    return " ".join([*words, str(line.get("request_id", ""))])


def _safe(value: object) -> str:
    """Without what a terminal would take for a command."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))
