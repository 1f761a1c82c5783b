"""What the supervisor wants to know of a compilation besides the snapshot: for whom it asked, what to watch.

Diagnostics for ``faregate reload``, the files that were read for ``--watch``, and the data folder, which a
broken file may still name: there lies the last good snapshot.
"""

import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

from faregate.compile.data_places import data_folders
from faregate.kernel.replica import NAME as REPLICA
from faregate.model.diagnostics import Diagnostic
from faregate.model.load import Loaded
from faregate.model.managed import BASE_NAME
from faregate.model.report import as_text

_OWN: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_MANAGED: Final = frozenset({REPLICA, BASE_NAME})  # the manager's: it publishes what it changes
_CODE: Final = frozenset({".py", ".pyc", ".so"})
FILES_MAX: Final = 1000


class FilesRead:
    """Collects the files that this process opens from now on, program files apart.

    An audit hook cannot be taken away again: for a process that ends.
    """

    def __init__(self) -> None:
        self._paths: dict[str, list[int] | None] = {}
        self._home = str(Path(__file__).parents[1])
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and len(self._paths) < FILES_MAX:
            path, mode = arguments[0], arguments[1]
            if isinstance(path, str | Path) and (mode is None or "r" in str(mode)):
                self._paths.setdefault(str(path), _state(str(path)))

    def found(self) -> dict[str, list[int] | None]:
        """Absolute paths in the order in which they were opened, each with its time of change (ns), size and
        inode just before, None when it was not there: what tells a later change.
        """
        absolute = [(Path(path).absolute(), state) for path, state in self._paths.items()]
        return {
            str(path): state
            for path, state in absolute
            if path.suffix not in _CODE
            and path.name not in _MANAGED
            and not str(path).startswith((*_OWN, self._home, "/proc/", "/sys/", "/dev/", "/etc/ssl/"))
        }


def _state(path: str) -> list[int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - in an audit hook
    except OSError:
        return None
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def write_report(
    path: Path, loaded: Loaded, diagnostics: list[Diagnostic], files: dict[str, list[int] | None]
) -> None:
    """Writes the report as JSON. Raises OSError."""
    report = {
        "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
        "text": as_text(diagnostics, loaded.tree.sources) if diagnostics else "",
        "files": files,
        "data": data_folders(loaded.tree.root.path, loaded.tree.data),
    }
    path.write_text(json.dumps(report), encoding="utf-8")
