"""Finds the running gateway that a command is for: by the data folder that its configuration file names.

The file may be broken just now, which is when one wants to ask; so its text is searched for the folder before
it is read in earnest, and a gateway found there must say that this is its file.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import typer

from faregate.cli.errors import CommandError
from faregate.compile.data_places import data_folders
from faregate.gateway.commands import NAME, Request, ask
from faregate.kernel.processes import processes_with

STATUS_S = 5.0


def find(file: Path, data: Path | None) -> tuple[Path, dict[str, object]]:
    """The data folder of the gateway that runs ``file``, or on ``data``, and its status. Raises
    CommandError.
    """
    if data is not None:
        status = status_on(data)
        if status is None:
            raise CommandError(_silence(data) or f"no gateway is running on {data}")
        return data, status
    others = []
    for folder in _folders(file):
        status = status_on(Path(folder))
        if status is not None and _is_same(file, status.get("config")):
            return Path(folder), status
        if status is not None:
            others.append((folder, status))
    raise CommandError(_why_none(file, others))


def _why_none(file: Path, others: list[tuple[str, dict[str, object]]]) -> str:
    """``others``: gateways that answer on their folders, of other files than ``file``."""
    named = data_folders(file)
    named = named[:-1] or named  # the default counts only where nothing else is named
    for folder, status in others:
        if folder in named:
            return _other(file, status)
    for folder in named:
        if why := _silence(Path(folder)):
            return why
    if not file.exists():
        return f"no such file: {file}; name the configuration file, or the gateway's data folder with --data"
    return (
        f"no running gateway was found for {file}; `faregate run {file}` starts one, "
        "--data names the data folder of one that runs"
    )


def insist(context: typer.Context, file: Path, status: Mapping[str, object]) -> None:
    """The gateway reads the file that it runs, never another: so if one was named, it must be that. Raises
    CommandError.
    """
    source = context.get_parameter_source("file")
    if source is not None and source.name == "COMMANDLINE" and not _is_same(file, status.get("config")):
        raise CommandError(_other(file, status))


def _is_same(file: Path, config: object) -> bool:
    return isinstance(config, str) and (
        config == str(file.absolute()) or Path(config).resolve() == file.resolve()
    )


def _other(file: Path, status: Mapping[str, object]) -> str:
    return f"the gateway on {status['data']} runs {status['config']}, not {file}: name that file"


def _silence(folder: Path) -> str:
    """Why one that holds ``folder`` does not answer, as far as this user may see; empty if none holds it."""
    try:
        (folder / NAME).stat()
        if not os.access(folder / NAME, os.W_OK):
            raise PermissionError  # noqa: TRY301 - the same as a folder that may not be looked into
    except PermissionError:
        return _not_permitted(folder)
    except OSError:
        pass  # one that starts has no socket yet
    for pid, _ in processes_with({str((folder / "lock").resolve())}):
        return f"process {pid} holds the data folder {folder} but does not answer"
    return ""


def _not_permitted(folder: Path) -> str:
    for place in (folder / NAME, folder):
        with suppress(OSError):
            return f"not permitted: the gateway on {folder} runs as another user (uid {place.stat().st_uid})"
    return f"not permitted: another user's data folder: {folder}"


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
    guesses = list(dict.fromkeys([*data_folders(file), *_held_folders()]))
    yield from guesses
    from faregate.model.load import load

    for folder in data_folders(file, load(file, os.environ).tree.data):
        if folder not in guesses:
            yield folder
