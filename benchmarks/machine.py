"""What the figures were taken on: processor, kernel, versions of everything measured."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

_VERSION: Final = {
    "nginx": ("-v", r"nginx/(\S+)"),
    "haproxy": ("-v", r"version (\S+)"),
    "wrk": ("-v", r"wrk (\S+)"),
    "h2load": ("--version", r"nghttp2/(\S+)"),
    "envoy": ("--version", r"version: \w+/([^/]+)/"),
}
"""Program -> its option, and where its version stands in what it says."""
_PACKAGES: Final = ("faregate", "uvloop", "httptools", "msgspec", "cryptography")


def parse_processor(cpuinfo: str) -> str:
    """The processor's name as /proc/cpuinfo gives it; the architecture where it gives none."""
    match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def parse_memory_bytes(meminfo: str) -> int:
    """MemTotal of /proc/meminfo in bytes. Raises ValueError when it is not there."""
    match = re.search(r"^MemTotal:\s+(\d+) kB$", meminfo, re.MULTILINE)
    if match is None:
        raise ValueError("no MemTotal")
    return int(match[1]) << 10


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, memory, kernel, distribution."""
    release = platform.freedesktop_os_release()
    return {
        "processor": parse_processor(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": parse_memory_bytes(Path("/proc/meminfo").read_text()),
        "kernel": platform.release(),
        "system": release.get("PRETTY_NAME", "Linux"),
    }


def describe_python(python: str) -> str:
    """Version and path of an interpreter, and whether its build says that it was optimised by profile (PGO).

    The build matters: the same code may take a fifth less with profile and link-time optimisation.
    """
    script = (
        "import sys, sysconfig; args = sysconfig.get_config_var('CONFIG_ARGS') or '';"
        "print(sys.version.split()[0], sys.executable,"
        " 'PGO' if '--enable-optimizations' in args else 'no PGO stated')"
    )
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def describe_versions(programs: dict[str, str], python: str) -> dict[str, str]:
    """What each program says of its version, and the versions of Faregate's own engine."""
    versions = {"python": describe_python(python)}
    for name, (option, pattern) in _VERSION.items():
        if name not in programs:
            continue  # what does not run here
        done = subprocess.run(
            [programs[name], option], capture_output=True, text=True, timeout=20, check=False
        )
        match = re.search(pattern, done.stdout + done.stderr)
        versions[name] = match[1] if match else "unknown"
    for package in _PACKAGES:
        versions[package] = metadata.version(package)
    return versions
