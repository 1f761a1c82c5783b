"""A value that must not be seen: prints as ``***`` wherever it lands."""

from typing import Final

MASK: Final = "***"


class Secret:
    """Wraps secret bytes; only ``reveal()`` gives them back. Never equal to anything by ``==`` on purpose."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __reduce__(self) -> tuple[type["Secret"], tuple[bytes]]:
        raise TypeError("a Secret is not pickled")
