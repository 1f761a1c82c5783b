"""Where the data folder of a configuration file may lie, without compiling it.

Commands ask it before they know whether the file can be read at all, and most end with that; so nothing of
the model is imported here.
"""

import re
from pathlib import Path
from typing import Final

DATA_DEFAULT: Final = "faregate-data"
_DATA: Final = re.compile(
    r"""^[^#\n]*?\bdata["']?:\s*(?P<quote>["']?)(?P<name>[^\s,}"'#$]+)(?P=quote)""", re.MULTILINE
)


def data_folders(file: Path, tree: object = None) -> list[str]:
    """Where the data folder of ``file`` may lie, likeliest first, however broken the file is.

    ``tree``: what could be read of it. The folders need not exist.
    """
    names: list[str] = []
    gateway = tree.get("gateway") if isinstance(tree, dict) else None
    named = gateway.get("data") if isinstance(gateway, dict) else None
    if isinstance(named, str):
        names.append(named)
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            names += [match["name"] for match in _DATA.finditer(text.read(1 << 20))]
    except OSError:
        pass  # then only the default is left
    names.append(DATA_DEFAULT)
    return list(dict.fromkeys(str((file.parent / name).absolute()) for name in names[:16]))
