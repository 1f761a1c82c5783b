"""How often somebody may try to sign in: for each name from an address, for each name, and for each address.

The first stops who guesses, the second who guesses from many addresses, the third who tries many names. A
name alone is given more, so that a stranger does not lock its owner out at once. Counts lie in memory, so
many at most; the oldest are forgotten first.
"""

from collections import OrderedDict
from typing import Final

from faregate.manager.cases.errors import TooMany

WITHIN_MS: Final = 15 * 60_000
EACH_MAX: Final = 5
NAME_MAX: Final = 30
ADDRESS_MAX: Final = 30
KEPT_MAX: Final = 20_000


class Attempts:
    """Counts tries until one succeeds."""

    def __init__(self) -> None:
        self._tries: OrderedDict[tuple[str, str], list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def begin(self, name: str, address: str, now_ms: int) -> None:
        """Counts a try. Raises TooMany with the seconds after which another may be made."""
        kinds = _kinds(name, address)
        wait_ms = 0
        for key, most in kinds:
            tries = [at for at in self._tries.get(key, ()) if now_ms - at < WITHIN_MS]
            if len(tries) >= most:
                wait_ms = max(wait_ms, tries[-most] + WITHIN_MS - now_ms)
        if wait_ms:
            seconds = -(-wait_ms // 1000)
            raise TooMany(f"Too many tries; wait {seconds} seconds.", retry_after_s=seconds)
        for key, _ in kinds:
            tries = [at for at in self._tries.pop(key, ()) if now_ms - at < WITHIN_MS]
            self._tries[key] = [*tries, now_ms]
        while len(self._tries) > KEPT_MAX:
            self._tries.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """Forgets the tries of ``name`` from ``address``, and gives this one back to both."""
        (each, _), *others = _kinds(name, address)
        self._tries.pop(each, None)
        for key, _ in others:
            tries = self._tries.get(key)
            if tries:
                tries.pop()


def _kinds(name: str, address: str) -> list[tuple[tuple[str, str], int]]:
    return [((name, address), EACH_MAX), ((name, ""), NAME_MAX), (("", address), ADDRESS_MAX)]
