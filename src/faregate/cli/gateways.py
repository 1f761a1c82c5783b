"""Finds the running gateway that a command is for: by the data folder that its configuration file names.

The file may be broken just now, which is when one wants to ask; so its text is searched for the folder before
it is read in earnest, and a gateway found there must say that this is its file.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from faregate.cli.errors import CommandError
from faregate.compile.report import data_folders
from faregate.gateway.commands import NAME, Request, ask

STATUS_S = 5.0


def find(file: Path, data: Path | None) -> tuple[Path, dict[str, object]]:
    """The data folder of the gateway that runs ``file``, or on ``data``, and its status. Raises
    CommandError.
    """
    if data is not None:
        status = status_on(data)
        if status is None:
            raise CommandError(f"no gateway is running on {data}")
        return data, status
    config = str(file.absolute())
    for folder in _folders(file):
        status = status_on(Path(folder))
        if status is not None and status.get("config") in {config, str(file.resolve())}:
            return Path(folder), status
    raise CommandError(f"no running gateway was found for {file}; name its data folder with --data")


def command(folder: Path, request: Request, timeout: float) -> dict[str, object]:
    """The gateway's answer. Raises CommandError when there is none."""
    try:
        return ask(folder, request, timeout)
    except TimeoutError:
        raise CommandError(f"the gateway did not answer within {timeout:.0f} s") from None
    except OSError as error:
        raise CommandError(f"no gateway answers on {folder}: {error.strerror or error}") from None


def status_on(folder: Path) -> dict[str, object] | None:
    """What the gateway on a data folder says of itself; None when none answers."""
    try:
        return ask(folder, Request("status"), STATUS_S)
    except (OSError, ValueError):
        return None


def _held_folders() -> Iterator[str]:
    """The folders whose lock one of our processes has open: for a file that tells nothing any more."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.geteuid() or b"faregate" not in (process / "cmdline").read_bytes():
                continue
            held = [str(one.readlink()) for one in (process / "fd").iterdir()]
        except OSError:
            continue  # gone, or not ours to look into
        for name in held:
            if name.endswith("/lock") and Path(name).with_name(NAME).exists():
                yield str(Path(name).parent)


def _folders(file: Path) -> Iterator[str]:
    """Cheap guesses first; the whole configuration is read only when none of them holds a gateway."""
    guesses = [*data_folders(file), *_held_folders()]
    yield from guesses
    from faregate.model.load import load

    for folder in data_folders(file, load(file, os.environ).tree.data):
        if folder not in guesses:
            yield folder
