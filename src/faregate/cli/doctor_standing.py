"""What ``faregate doctor`` judges by when the file is broken, and what it finds of the gateway that runs.

A broken file is when one asks. What still can be known: its own ``gateway`` section where that part is sound,
the snapshot of the last good revision, on which a start would go on, and the running gateway by its data
folder, as ``faregate status`` finds it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from pydantic import ValidationError

from faregate import VERSION
from faregate.cli.doctor_findings import Finding, ok, problem, warning
from faregate.cli.gateways import status_on
from faregate.compile.data_places import data_folders
from faregate.compile.key_material import resolve
from faregate.compile.translate import gateway_record
from faregate.model.gateway import Gateway
from faregate.model.interpolate import Unfilled
from faregate.model.load import Loaded
from faregate.snapshot import data, encoded
from faregate.snapshot.data import FORMAT, Snapshot


class Standing(NamedTuple):
    """``snapshot``: what stands in for the broken file's. ``whole``: it is a revision that ran, and not its
    places alone.
    """

    snapshot: Snapshot
    whole: bool
    findings: list[Finding]


def stand_in(file: Path, loaded: Loaded) -> Standing:
    """For a file that does not compile."""
    folders = data_folders(file, loaded.tree.data)
    good = _last_good(folders)
    declared = _declared(loaded)
    if good is None:
        where = _first_existing(folders)
        finding = warning(
            "last_good",
            f"no snapshot of a former run in {where}: `faregate run` does not start",
            "mend the file",
        )
        gateway = declared or data.Gateway(listen=(), manager=None, workers=0, data=where)
        return Standing(Snapshot(FORMAT, 0, gateway, (), (), (), (), (), ()), False, [finding])
    place = Path(good.gateway.data) / "snapshot"
    routes = f"{len(good.routes)} route{'' if len(good.routes) == 1 else 's'}"
    finding = warning(
        "last_good",
        f"revision {good.revision}, {routes} ({place}): `faregate run` starts on it; what follows judges it",
        "mend the file; `faregate run --strict` refuses instead",
    )
    if declared is not None:
        good = msgspec.structs.replace(good, gateway=declared)
    return Standing(good, True, [finding])


def check_running(folder: Path, file: Path) -> Iterator[Finding]:
    """What the gateway on ``folder`` says of itself, if one is there."""
    status = status_on(folder)
    if status is None:
        return
    told = f"process {status.get('pid')}, version {status.get('version')}, revision {status.get('revision')}"
    workers = status.get("workers")
    late = [one for one in workers if not one.get("ready")] if isinstance(workers, list) else []
    if status.get("stopping"):
        yield warning("gateway", f"{told}, is stopping: calls in progress end", "wait, or start it again")
    elif late:
        names = ", ".join(str(one.get("index")) for one in late)
        yield problem("gateway", f"{told}: worker {names} not ready", "look at what it says on its output")
    elif status.get("config") not in {str(file.absolute()), str(file.resolve())}:
        yield warning(
            "gateway",
            f"{told}, runs another file: {status.get('config')}",
            "name that one, or another folder",
        )
    elif status.get("stale"):
        yield warning(
            "gateway",
            f"{told}, runs the last good revision, not the file: {status['stale']}",
            "mend the file, then `faregate reload`",
        )
    elif status.get("version") != VERSION:
        yield warning(
            "gateway", f"{told}; this program is version {VERSION}", "`faregate upgrade` lets it take over"
        )
    else:
        yield ok("gateway", f"{told}, runs what the file said when it was last read")


def _last_good(folders: list[str]) -> Snapshot | None:
    """As a start looks for it (``gateway.revisions.last_good``), read in full."""
    for folder in folders:
        try:
            snapshot = encoded.decode((Path(folder) / "snapshot").read_bytes())
        except (OSError, ValueError, msgspec.MsgspecError):
            continue
        if Path(snapshot.gateway.data) == Path(folder):
            return snapshot
    return None


def _first_existing(folders: list[str]) -> str:
    return next((folder for folder in folders if Path(folder).is_dir()), folders[0])


def _declared(loaded: Loaded) -> data.Gateway | None:
    """The file's ``gateway`` section by itself; None where that part has errors of its own. TLS is left out:
    it rests on files that are judged with the whole.
    """
    if not loaded.tree.data:
        return None  # nothing could be read
    try:
        declared = Gateway.model_validate(loaded.tree.data.get("gateway", {}))
    except ValidationError:
        return None
    if isinstance(declared.data, Unfilled):
        return None
    folder = resolve(loaded.tree, ("gateway", "data"), declared.data)
    return gateway_record(declared, folder, [None] * len(declared.listen))
