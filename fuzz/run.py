"""Coverage-guided fuzzing by atheris: ``python fuzz/run.py TARGET [libFuzzer options]``, ``make fuzz`` for
all.

The targets and their seeds are those of tests/fuzz, so that whatever is found here becomes a plain test by
putting its bytes into ``tests/fuzz/corpus/TARGET/``. Inputs that reached new code stay in
``build/fuzz/TARGET`` for the next run.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
BUILD: Final = CHECKOUT / "build" / "fuzz"
OPTIONS: Final = ("-max_len=2048", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1")


def play(name: str, options: list[str]) -> None:
    """Fuzzes one target; ends the process, with status 0 when nothing was found."""
    import atheris  # noqa: PLC0415 - only this program needs it

    with atheris.instrument_imports(include=["faregate"]):
        from tests.fuzz.seeds import CORPUS, TARGETS, seeds  # noqa: PLC0415 - to be instrumented
    folder = BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(name):
        (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    found = BUILD / "found"
    found.mkdir(exist_ok=True)
    known = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
    arguments = [*OPTIONS, f"-artifact_prefix={found}/{name}-", *options, str(folder), *known]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def play_all(seconds: int) -> int:
    """Each target in a process of its own for ``seconds``; the number of those that failed."""
    from tests.fuzz.seeds import TARGETS  # noqa: PLC0415 - the path is set below

    failed = []
    for name in TARGETS:
        log = BUILD / f"{name}.log"
        with log.open("wb") as out:
            command = [sys.executable, __file__, name, f"-max_total_time={seconds}"]
            done = subprocess.run(command, stdout=out, stderr=out, check=False)
        text = log.read_text(errors="replace").splitlines()
        runs = " ".join(line for line in text if "number_of_executed_units" in line)
        print(name, f"FOUND, see {log}" if done.returncode else "ok", runs, flush=True)
        if done.returncode:
            failed.append(name)
    return len(failed)


def main() -> int:
    sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "src")]
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        play(sys.argv[1], sys.argv[2:])
        return 0
    seconds = int(sys.argv[1].removeprefix("--seconds=")) if len(sys.argv) > 1 else 60
    BUILD.mkdir(parents=True, exist_ok=True)
    return 1 if play_all(seconds) else 0


if __name__ == "__main__":
    sys.exit(main())
