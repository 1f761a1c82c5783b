"""The manager of this machine, and the token that its data folder holds: found without being told.

The gateway on a data folder says where its manager listens; the token lies beside (``manager.token``, for who
runs the gateway). The manager makes it as it starts: one that is about to is asked, and answers when it has.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

import httpx2

from faregate.client.errors import ClientError, ShownOnce

TOKEN_FILE: Final = "manager.token"  # noqa: S105 - the file's name
_STATUS_S: Final = 5.0
_OPEN_S: Final = 60.0


class NoManager(ClientError):  # noqa: N818 - named for what is the case
    """No manager of this machine is found."""

    code = "no_manager"


class Local(NamedTuple):
    """Where it is, whose it is, and the folder; ``revision`` is what the gateway runs."""

    url: str
    token: str
    data: Path


def local(file: Path | None = None, data: Path | None = None) -> Local:
    """The manager of the gateway on ``data``, or of the one that runs ``file``. Raises NoManager."""
    from faregate.gateway.commands import Request, ask  # noqa: PLC0415 - only here

    folders = [data] if data is not None else _folders(file or Path("faregate.yaml"))
    for folder in folders:
        try:
            status = ask(folder, Request("status"), _STATUS_S)
        except (OSError, ValueError):
            continue
        return at(folder, status)
    told = " or ".join(str(folder) for folder in folders)
    raise NoManager(f"no gateway is running on {told}: start it with `faregate run`")


def at(folder: Path, status: dict[str, object]) -> Local:
    """The manager of the gateway on ``folder`` that says ``status`` of itself. Raises NoManager."""
    url = status.get("manager")
    if not isinstance(url, str):
        raise NoManager(f"the gateway on {folder} runs with `manager: off`")
    return Local(url, ShownOnce(_token(folder, url)), folder)


def _folders(file: Path) -> list[Path]:
    from faregate.model.load import load  # noqa: PLC0415 - half a second
    from faregate.model.managed import data_folder  # noqa: PLC0415 - likewise

    return [data_folder(load(file, os.environ).tree)]


def _token(folder: Path, url: str) -> str:
    path = folder / TOKEN_FILE
    why = ""
    try:
        if not path.exists():  # the manager is starting: its socket is there before it
            why = _said(httpx2.get(f"{url}/revisions", timeout=_OPEN_S, trust_env=False))
        return path.read_text("ascii").strip()
    except PermissionError:
        raise NoManager(
            f"not permitted to read {path}: run this as the gateway's user, or give --token"
        ) from None
    except httpx2.TransportError as error:
        raise NoManager(f"the manager at {url} does not answer: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        if why:
            raise NoManager(f"the manager at {url} cannot be used: {why}") from None
        told = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NoManager(f"no token in {path} ({told}); give --token") from None


def _said(answer: httpx2.Response) -> str:
    """Why a manager that was opened by nobody yet cannot be; empty when it is open."""
    if answer.status_code < 500:
        return ""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {answer.status_code}"
