"""What counts as a change of the files, and when."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.gateway.watching import look, watch


def state_of(file: Path) -> dict[str, list[int] | None]:
    """As the compilation reports a file that it reads now."""
    found = file.stat()
    return {str(file): [found.st_mtime_ns, found.st_size, found.st_ino]}


def replace(path: Path) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_text(path.read_text())
    fresh.replace(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a.yaml").write_text("longer than before"),
        lambda folder: os.utime(folder / "a.yaml", ns=(1, 1)),
        lambda folder: replace(folder / "a.yaml"),
        lambda folder: (folder / "a.yaml").unlink(),
        lambda folder: (folder / "new.yaml").write_text("a pattern may match it"),
        lambda folder: (folder / "keys.json").write_text("{}"),
    ],
    ids=["content", "time", "replaced", "gone", "beside", "key set"],
)
def test_changes_are_seen(tmp_path: Path, change: Callable[[Path], object]) -> None:
    (tmp_path / "a.yaml").write_text("one")
    files = [str(tmp_path / "a.yaml")]
    before = look(files)
    assert look(files) == before
    change(tmp_path)
    assert look(files) != before


def test_other_files_beside_are_no_change(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    before = look([str(tmp_path / "a.yaml")])
    (tmp_path / "access.jsonl").write_text("{}")
    (tmp_path / "snapshot").write_text("x")
    assert look([str(tmp_path / "a.yaml")]) == before


def test_a_file_in_motion_is_waited_for_and_read_once(tmp_path: Path) -> None:
    """Turn by turn: still; written; written on; still: then one reload. And one that the reload itself missed."""
    file, reloads = tmp_path / "a.yaml", []
    file.write_text("0")
    read = state_of(file)
    turns = iter(["", "1", "12", "", "", "", "123", "", ""])

    async def pause() -> None:
        text = next(turns, None)
        if text is None:
            raise asyncio.CancelledError
        if text:
            file.write_text(text)

    async def changed() -> None:
        read.update(state_of(file))
        reloads.append(file.read_text())

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch(lambda: read, changed, pause))
    assert reloads == ["12", "123"]


def test_a_change_during_the_reload_is_another(tmp_path: Path) -> None:
    file, reloads = tmp_path / "a.yaml", []
    file.write_text("0")
    read = state_of(file)
    turns = iter(["1", "", "", "", ""])

    async def pause() -> None:
        text = next(turns, None)
        if text is None:
            raise asyncio.CancelledError
        if text:
            file.write_text(text)

    async def changed() -> None:
        read.update(state_of(file))
        reloads.append(file.read_text())
        if len(reloads) == 1:
            file.write_text("while it was read")

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch(lambda: read, changed, pause))
    assert reloads == ["1", "while it was read"]
