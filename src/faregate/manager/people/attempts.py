"""How often somebody may try to sign in: for each name from an address, for each name, and for each address.

The first stops who guesses, the second who guesses from many addresses, the third who tries many names. So
that who uses them up locks nobody out, two are counted apart: a browser in which a person has signed in
before (``Devices``) has tries of its own for that name, and who is signed in already has those of the account
alone. Counts lie in memory, so many at most; the oldest are forgotten first.
"""

from collections import OrderedDict
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

from faregate.manager.cases.errors import TooMany
from faregate.manager.people.machine import make_token
from faregate.manager.people.tokens import Peppered, same

WITHIN_MS: Final = 15 * 60_000
EACH_MAX: Final = 5
NAME_MAX: Final = 30
ADDRESS_MAX: Final = 30
KEPT_MAX: Final = 20_000
KNOWN_MS: Final = 180 * 86_400_000
"""How long a browser is known after a sign-in."""
_PREFIX: Final = "fgd_"
_TOKEN_CHARACTERS_MAX: Final = 200

Limits = list[tuple[tuple[str, str], int]]


class Attempts:
    """Counts tries until one succeeds."""

    def __init__(self) -> None:
        self._tries: OrderedDict[tuple[str, str], list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def begin(self, name: str, address: str, now_ms: int, device: str = "") -> None:
        """Counts a try. ``device``: which known browser it is, as ``Devices.known`` has it. Raises TooMany
        with the seconds after which another may be made.
        """
        self._count(_limits(name, address, device), now_ms)

    def begin_own(self, name: str, now_ms: int) -> None:
        """As ``begin``, for who is signed in as ``name`` already."""
        self._count(_own(name), now_ms)

    def succeeded(self, name: str, address: str, device: str = "") -> None:
        """Forgets the tries of ``name`` from there, and gives this one back to the other counts."""
        self._forget(_limits(name, address, device))

    def succeeded_own(self, name: str) -> None:
        """Forgets the tries of who is signed in."""
        self._forget(_own(name))

    def _count(self, limits: Limits, now_ms: int) -> None:
        wait_ms = 0
        for key, most in limits:
            tries = [at for at in self._tries.get(key, ()) if now_ms - at < WITHIN_MS]
            if len(tries) >= most:
                wait_ms = max(wait_ms, tries[-most] + WITHIN_MS - now_ms)
        if wait_ms:
            seconds = -(-wait_ms // 1000)
            raise TooMany(f"Too many tries; wait {seconds} seconds.", retry_after_s=seconds)
        for key, _ in limits:
            tries = [at for at in self._tries.pop(key, ()) if now_ms - at < WITHIN_MS]
            self._tries[key] = [*tries, now_ms]
        while len(self._tries) > KEPT_MAX:
            self._tries.popitem(last=False)

    def _forget(self, limits: Limits) -> None:
        (each, _), *others = limits
        self._tries.pop(each, None)
        for key, _ in others:
            tries = self._tries.get(key)
            if tries:
                tries.pop()


class Devices:
    """Browsers in which a person has signed in: known by a cookie that opens nothing."""

    def __init__(self, peppered: Peppered) -> None:
        self._peppered = peppered

    def make(self, name: str, now_ms: int) -> str:
        """What the browser keeps."""
        random = make_token("").reveal().decode()
        told = f"{now_ms:x}.{random}"
        return f"{_PREFIX}{told}.{self._proof(name, told)}"

    def known(self, name: str, kept: str, now_ms: int) -> str:
        """Which browser it is, empty for none that ``name`` has signed in with."""
        if not kept.startswith(_PREFIX) or len(kept) > _TOKEN_CHARACTERS_MAX or not kept.isascii():
            return ""
        told, _, proof = kept.removeprefix(_PREFIX).rpartition(".")
        if not same(self._proof(name, told).encode(), proof.encode()):
            return ""
        at, _, random = told.partition(".")
        return random if 0 <= now_ms - int(at, 16) < KNOWN_MS else ""

    def _proof(self, name: str, told: str) -> str:
        return self._peppered.digest("device", f"{name}\n{told}".encode())


def _limits(name: str, address: str, device: str) -> Limits:
    if device:
        return [((name, f"device {device}"), EACH_MAX)]
    address = _line(address)
    return [((name, address), EACH_MAX), ((name, ""), NAME_MAX), (("", address), ADDRESS_MAX)]


def _line(address: str) -> str:
    """Whom an address counts for: of IPv6 the /64, all of which one caller has."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address) or parsed.ipv4_mapped:
        return address
    return str(IPv6Network((int(parsed), 64), strict=False))


def _own(name: str) -> Limits:
    return [((name, "signed in"), EACH_MAX)]
