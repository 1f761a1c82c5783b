"""The data folder that a command looks into, whether or not a gateway runs there."""

from pathlib import Path
from typing import TYPE_CHECKING

from faregate.cli.errors import CommandError

if TYPE_CHECKING:
    from faregate.snapshot.data import Snapshot


def folder_of(file: Path, data: Path | None) -> Path:
    """The folder ``data``, or the one that ``file`` names. Raises CommandError."""
    if data is not None:
        if not data.is_dir():
            raise CommandError(f"{data} is no folder")
        return data
    from faregate.compile.data_places import data_folders

    if not file.exists():
        raise CommandError(
            f"no such file: {file}; name the gateway's file with --config, or its data folder with --data"
        )
    named = [Path(one) for one in data_folders(file)]
    for folder in named:
        if folder.is_dir():
            return folder
    raise CommandError(
        f"no gateway has run {file} yet: there is no folder {named[0] if named else 'for data'}"
    )


def last_good(data: Path) -> "Snapshot | None":
    """The configuration that ran last on ``data``; None where none did, or it is another version's."""
    import msgspec

    from faregate.snapshot import encoded

    try:
        return encoded.decode((data / "snapshot").read_bytes())
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
