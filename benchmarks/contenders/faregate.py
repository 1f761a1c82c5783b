"""Faregate with everything on: one worker on the proxies' core, the manager on the load's.

The roles are told apart so that the total is whole (supervisor and manager count) and the worker's share is
visible.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from benchmarks import tokens
from benchmarks.contenders.base import Contender
from benchmarks.processes import move_to_core

_ROLE_MARKS: Final = {
    "worker": b"faregate.gateway.worker",
    "manager": b"faregate.manager",
    "ledger": b"faregate.stores.ledger.embedded.program",
}
"""Role -> what the command line of such a process names; the rest of the tree is the supervisor's."""


def role_of(command_line: bytes) -> str:
    """worker, manager, ledger or supervisor, by the contents of /proc/PID/cmdline."""
    words = command_line.split(b"\0")
    return next((role for role, mark in _ROLE_MARKS.items() if mark in words), "supervisor")


class Faregate(Contender):
    """`faregate run` with one worker."""

    name = "faregate"
    title = "Faregate, everything on"
    listens = ("", ", tls: {certificates: [{chain: @CERTIFICATE@, key: @CERTIFICATE@}]}")

    def command(self) -> list[str]:
        data = self.ground.work / f"{self.name}-data"
        shutil.rmtree(data, ignore_errors=True)
        self.log = data / "access.jsonl"
        consumers = self.ground.work / f"{self.name}-consumers.yaml"
        consumers.write_text(json.dumps({"consumers": consumer_tree()}, indent=1))
        config = self.write_config("faregate.yaml", f"{self.name}.yaml", DATA=data, CONSUMERS=consumers.name)
        return [self.ground.python, "-m", "faregate", "run", str(config)]

    def environment(self) -> dict[str, str] | None:
        """Another interpreter than this one is shown this one's packages; both must be of the same x.y."""
        if self.ground.python == sys.executable:
            return None
        shown = [path for path in sys.path if path.endswith(("site-packages", "/src"))]
        return os.environ | {"PYTHONPATH": os.pathsep.join(shown)}

    def settle(self) -> None:
        """Moves the manager to the load's core, as on a machine with a core to spare; its CPU still
        counts.
        """
        if self.ground.load_core is not None:
            for pid in self.roles()["manager"]:
                move_to_core(pid, self.ground.load_core)

    def roles(self) -> dict[str, list[int]]:
        roles: dict[str, list[int]] = {"worker": [], "manager": [], "supervisor": []}
        for pid in self.pids():
            try:
                role = role_of(Path(f"/proc/{pid}/cmdline").read_bytes())
                roles.setdefault(role, []).append(pid)  # only some have a ledger
            except (FileNotFoundError, ProcessLookupError):
                continue
        return roles


def consumer_tree() -> dict[str, object]:
    """The consumers of the repeated and unique series, and the one with the small plan."""
    plans = dict.fromkeys(tokens.CONSUMERS, "standard") | {tokens.SMALL_CONSUMER: "small"}
    return {
        name: {
            "plan": plan,
            "permissions": ["payments:read", "payments:write"],
            "credentials": [{"jwt": {"issuer": "bench", "subject": name}}],
        }
        for name, plan in plans.items()
    }
