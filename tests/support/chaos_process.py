"""The chaos proxy in a process of its own, for long runs: ``python -m tests.support.chaos_process HOST:PORT --seed N``.

One JSON object a line on stdin is one order; each is answered by one line on stdout, so that a fault holds when the order
returns. The process ends with its stdin, and so with whoever started it. ``ChaosProcess`` gives the orders.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from typing import Final, Self

from tests.support.chaos import ChaosProxy, Faults

_DEEDS: Final = ("heal", "listen", "refuse", "reset_all")


class ChaosProcess:
    """Starts the proxy for ``target``; use as a context manager. Orders as for ``ChaosProxy``."""

    def __init__(self, target: tuple[str, int], seed: int = 1) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.chaos_process", f"{target[0]}:{target[1]}", "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.port = 0

    def __enter__(self) -> Self:
        self.port = int(self._line())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, *, up: Faults | None = None, down: Faults | None = None, mute: bool = False) -> None:
        """Replaces the faults of both directions; None is no fault."""
        self._order({"up": asdict(up or Faults()), "down": asdict(down or Faults()), "mute": mute})

    def heal(self) -> None:
        self._order({"do": "heal"})

    def refuse(self) -> None:
        self._order({"do": "refuse"})

    def listen(self) -> None:
        self._order({"do": "listen"})

    def reset_all(self) -> None:
        self._order({"do": "reset_all"})

    def _order(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._line()
        assert answer == "done", answer

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def obey(proxy: ChaosProxy, order: dict[str, object]) -> None:
    """Carries one order out. Raises KeyError or TypeError on one that is none."""
    if "do" in order:
        deed = str(order["do"])
        if deed not in _DEEDS:
            raise KeyError(deed)
        getattr(proxy, deed)()
        return
    up, down = order["up"], order["down"]
    assert isinstance(up, dict)
    assert isinstance(down, dict)
    proxy.up, proxy.down, proxy.mute = Faults(**up), Faults(**down), bool(order["mute"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    host, _, port = options.target.rpartition(":")
    with ChaosProxy((host, int(port)), options.seed) as proxy:
        print(proxy.address[1], flush=True)
        for line in sys.stdin:
            obey(proxy, json.loads(line))
            print("done", flush=True)


if __name__ == "__main__":
    main()
