"""Makes the virtual environment of this checkout, or finds within a fraction of a second that it is in order.

``environment.py run|dev|bench``: the gateway with its demo; that and the tools; that and the benchmark's
peers. Versions and hashes come from ``requirements/*.lock``, and pip installs as the machine has configured
it (index, proxy, certificates): nothing of that is written here. What was installed is noted in the
environment; it is made anew when the note no longer fits the checkout. Standard library only.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from interpreters import Interpreter, candidates, choose, probe

CHECKOUT: Final = Path(__file__).resolve().parent.parent
LEVELS: Final = ("run", "dev", "bench")
"""Each holds all before it."""
NOTE: Final = "faregate-environment.json"
"""The note's name inside the environment: what was installed, for which checkout, on which Python."""
START_TIMEOUT_S: Final = 30
APT_TIMEOUT_S: Final = 300
INSTALL_TIMEOUT_S: Final = 1200
BYTECODE_TIMEOUT_S: Final = 60


class ImpossibleError(Exception):
    """The environment cannot be made; the message is one line that says what to do."""


def main(arguments: list[str]) -> int:
    """Brings the environment to the level asked for; 0 done, 1 impossible, 2 wrong usage."""
    if len(arguments) != 1 or arguments[0] not in LEVELS:
        print(f"usage: environment.sh {'|'.join(LEVELS)}", file=sys.stderr)
        return 2
    level = arguments[0]
    folder = CHECKOUT / os.environ.get("VENV", ".venv")
    try:
        if not is_ready(folder, level):
            with _alone():
                make(folder, level)
        keep_bytecode(folder)
    except (ImpossibleError, OSError) as error:
        print(f"environment: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One at a time, however many makes run; the kernel frees the lock when its holder dies."""
    with Path(__file__).open("rb") as source:
        fcntl.flock(source, fcntl.LOCK_EX)
        yield


def is_ready(folder: Path, level: str) -> bool:
    """Whether the environment holds at least this level, of this checkout, on the Python asked for."""
    note = read_note(folder)
    return (
        note.get("fingerprint") == fingerprint()
        and note.get("level") in LEVELS[LEVELS.index(level) :]
        and runs_here(folder)
        and on_wanted_python(note)
    )


def on_wanted_python(note: dict[str, str]) -> bool:
    """Whether PYTHON is unset, or the one the environment was made on."""
    wanted = os.environ.get("PYTHON")
    if not wanted:
        return True
    found = probe(wanted)
    return found is not None and found.path == note.get("python")


def runs_here(folder: Path) -> bool:
    """Whether the environment's Python works: it is the one that runs this, or it starts."""
    if not folder.is_dir():
        return False
    if Path(sys.prefix).samefile(folder):
        return True
    try:
        start = [str(folder / "bin" / "python"), "-c", "pass"]
        return (
            subprocess.run(start, capture_output=True, check=False, timeout=START_TIMEOUT_S).returncode == 0
        )
    except (OSError, subprocess.SubprocessError):
        return False


def read_note(folder: Path) -> dict[str, str]:
    """What was noted when the environment was made; empty when nothing was."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def write_note(folder: Path, note: dict[str, str]) -> None:
    """Replaces the note; one without a fingerprint marks an environment that is not finished."""
    (folder / NOTE).write_text(json.dumps(note) + "\n")


def fingerprint() -> str:
    """Changes with all that an environment depends on: declared packages, locks, the checkout's place."""
    declared = _project()
    parts = [declared.get(table) for table in ("build-system", "project", "dependency-groups")]
    digest = hashlib.sha256(json.dumps([str(CHECKOUT), os.environ.get("LOCKED", ""), parts]).encode())
    for level in LEVELS:
        digest.update(_lock(level).read_bytes())
    return digest.hexdigest()


def make(folder: Path, level: str) -> None:
    """Makes the environment, or adds to it what a higher level needs. Raises ImpossibleError."""
    if is_ready(folder, level):
        return  # another make was at it while this one waited
    began = time.monotonic()
    note = read_note(folder)
    if runs_here(folder) and note.get("fingerprint") == fingerprint() and on_wanted_python(note):
        pip = _pip_for(folder)
    elif runs_here(folder) and not note and not os.environ.get("PYTHON"):
        # somebody's own: it is completed, not thrown away
        print(f"environment: {folder} was not made by make; what it lacks is added")
        note = {"python": os.path.realpath(sys.executable)}
        pip = _pip_for(folder)
    else:
        interpreter = find_interpreter()
        note = {"python": interpreter.path}
        pip = _fresh(folder, interpreter)
    write_note(folder, {"python": note["python"]})
    print(f"environment: installing what `{level}` needs into {folder}", flush=True)
    _install(pip, level)
    write_note(folder, {"python": note["python"], "level": level, "fingerprint": fingerprint()})
    print(f"environment: ready after {time.monotonic() - began:.0f} s", flush=True)


def keep_bytecode(folder: Path) -> None:
    """Has Python keep what it makes of our sources also where it is told not to (``PYTHONDONTWRITEBYTECODE``,
    as in many images). Else every process of a gateway, and whatever replaces one, would compile them anew:
    half of the work of its start. Takes a tenth of a second when nothing has changed; failing does no harm.
    """
    if not os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return
    command = [str(folder / "bin" / "python"), "-m", "compileall", "-q", str(CHECKOUT / "src")]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(command, capture_output=True, check=False, timeout=BYTECODE_TIMEOUT_S)


def find_interpreter() -> Interpreter:
    """PYTHON when it is set, else the choice among those found. Raises ImpossibleError."""
    wanted = os.environ.get("PYTHON")
    if wanted:
        found = probe(wanted)
        if found is None:
            raise ImpossibleError(f"PYTHON={wanted} is not a Python of at least 3.11")
        print(f"environment: {found}, as PYTHON says", flush=True)
        return found
    everything = candidates()
    try:
        found = choose(everything)
    except ValueError as error:
        raise ImpossibleError(f"{error}; on Debian: apt-get install python3 python3-venv") from None
    told = (
        "the only one found"
        if len(everything) == 1
        else f"chosen by speed and version from {len(everything)}"
    )
    print(f"environment: {found}, {told}", flush=True)
    return found


def _fresh(folder: Path, interpreter: Interpreter) -> list[str]:
    """Makes an empty environment in the place of what was there and returns the pip to fill it with."""
    if not interpreter.ensurepip and not any(each.pip for each in candidates()):
        interpreter = _with_ensurepip(interpreter)
    if folder.exists():
        if not (folder / "pyvenv.cfg").exists() and any(folder.iterdir()) and not read_note(folder):
            raise ImpossibleError(f"{folder} is not a virtual environment; move it away or set VENV")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_note(folder, {"python": interpreter.path})
    without = [] if interpreter.ensurepip else ["--without-pip"]
    _run([interpreter.path, "-m", "venv", *without, str(folder)], "could not make the virtual environment")
    return _pip_for(folder)


def _with_ensurepip(interpreter: Interpreter) -> Interpreter:
    """Installs what Debian splits off from Python, when root. Raises ImpossibleError naming it otherwise."""
    name = f"python{interpreter.version[0]}.{interpreter.version[1]}-venv"
    apt_get = shutil.which("apt-get")
    if apt_get is None or os.geteuid() != 0:
        raise ImpossibleError(f"{interpreter} cannot make environments; as root: apt-get install {name}")
    print(f"environment: apt-get install {name}", flush=True)
    install = [apt_get, "install", "-y", "-qq", "--no-install-recommends", name]
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(install, env=quiet, check=False, timeout=APT_TIMEOUT_S).returncode != 0:
        subprocess.run([apt_get, "update", "-qq"], env=quiet, check=False, timeout=APT_TIMEOUT_S)
        subprocess.run(install, env=quiet, check=False, timeout=APT_TIMEOUT_S)
    found = probe(interpreter.path)
    if found is None or not found.ensurepip:
        raise ImpossibleError(f"apt-get could not install {name}, which {interpreter} needs for environments")
    return found


def _pip_for(folder: Path) -> list[str]:
    """The environment's own pip, else another Python's that installs into it."""
    python = str(folder / "bin" / "python")
    if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
        return [python, "-m", "pip"]
    for each in candidates():
        if each.pip:
            return [each.path, "-m", "pip", "--python", python]
    raise ImpossibleError(f"{folder} has no pip, and no other Python has one; apt-get install python3-venv")


def _install(pip: list[str], level: str) -> None:
    command = [*pip, "install", "-qq", "--no-input", "--disable-pip-version-check"]
    wanted = LEVELS[: LEVELS.index(level) + 1]
    if os.environ.get("LOCKED") == "no":
        groups = _project()["dependency-groups"]
        packages = [text for name in ("build", *wanted) for text in groups.get(name, [])]
        _run([*command, "-e", f"{CHECKOUT}[demo]", *packages], "pip could not install; its words are above")
        return
    locks = [argument for name in wanted for argument in ("-r", str(_lock(name)))]
    _run(
        [*command, "--require-hashes", "--no-deps", *locks],
        "pip could not install the locked packages, its words are above; "
        "where the registry serves other files than PyPI: LOCKED=no make ...",
    )
    own = ["--no-deps", "--no-build-isolation", "--no-index", "-e", str(CHECKOUT)]
    _run([*command, *own], "pip could not install this checkout; its words are above")


def _run(command: list[str], failure: str) -> None:
    """Runs one step of the installation in the open. Raises ImpossibleError with what ``failure`` says."""
    surroundings = os.environ | {"PIP_USER": "0", "PYTHONPATH": ""}
    try:
        subprocess.run(command, env=surroundings, check=True, timeout=INSTALL_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        raise ImpossibleError(failure) from None


def _project() -> dict[str, Any]:
    with (CHECKOUT / "pyproject.toml").open("rb") as source:
        return tomllib.load(source)


def _lock(level: str) -> Path:
    return CHECKOUT / "requirements" / f"{level}.lock"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
