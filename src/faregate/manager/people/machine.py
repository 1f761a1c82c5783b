"""How tokens are made, and this machine's own: a file in the data folder.

Whoever may read the data folder could replace the gateway, so the machine's token owns everything on it. It
is made at the manager's start (mode 0600), before anybody asks, and is what the command line and scripts use
here. It stands apart from other credentials because a gateway that nobody manages loads no database.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from faregate.kernel.secrets import Secret

MACHINE_FILE: Final = "manager.token"
PREFIX: Final = "fgm_"
_RANDOM_BYTES: Final = 32


def make_token(prefix: str = PREFIX) -> Secret:
    """A new token: 256 random bits."""
    return Secret(f"{prefix}{secrets.token_urlsafe(_RANDOM_BYTES)}".encode())


def machine_token(data: Path) -> Secret:
    """The token in ``<data>/manager.token``, made where there is none. Raises OSError, ValueError."""
    path = data / MACHINE_FILE
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make_token().reveal() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    found = path.read_bytes().strip()
    if not found.startswith(PREFIX.encode()) or len(found) < 40:
        raise ValueError(f"{path} holds no token; remove it, and a new one is made")
    return Secret(found)
