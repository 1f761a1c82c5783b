"""The declared form of ``gateway.ledger`` and ``gateway.shared``: where what became of payments is kept, and
by which secrets.

A store's URL may hold a password, and the keys are secrets: neither is ever printed.
"""

import base64
import binascii
import re
from typing import Annotated, Final, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from faregate.kernel.secrets import Secret
from faregate.model.values import AlsoText, Declared, Flag, Name, parse_word, reads, size, text_schema

EMBEDDED: Final = "embedded"
KEYS_MAX: Final = 16
KEY_BYTES_MIN: Final = 32
KEY_BYTES_MAX: Final = 64
"""BLAKE2b takes no longer key."""

_KINDS: Final = {"redis": "redis", "rediss": "redis", "postgresql": "postgresql", "postgres": "postgresql"}


class StorePlace(NamedTuple):
    """``kind``: embedded, redis or postgresql; ``url``: of the last two."""

    kind: str
    url: Secret | None = None

    def __repr__(self) -> str:
        return self.kind


HERE: Final = StorePlace(EMBEDDED)


def store_place(*schemes: str) -> "tuple[PlainValidator, WithJsonSchema]":
    """Annotations of a store: ``embedded``, or a URL of one of ``schemes``."""
    pattern = re.compile(rf"embedded|(?:{'|'.join(schemes)})://[!-~]+")

    def parse(text: str) -> StorePlace:
        if not pattern.fullmatch(text):
            raise ValueError("not a store")
        scheme = text.partition("://")[0]
        return HERE if scheme == EMBEDDED else StorePlace(_KINDS[scheme], Secret(text.encode()))

    expected = " or ".join(f"{scheme}://..." for scheme in schemes)
    return reads(parse, f"embedded, or {expected}"), text_schema(
        pattern.pattern, "Where state lives.", EMBEDDED
    )


LEDGER_SCHEMES: Final = ("redis", "rediss", "postgresql")


def _key_material(text: str) -> Secret:
    try:
        if re.fullmatch(r"[0-9A-Fa-f]+", text):  # base64 of 32 random bytes never looks so
            material = bytes.fromhex(text)
        else:
            plain = text.rstrip("=").replace("-", "+").replace("_", "/")
            material = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("neither hex nor base64") from None
    if not KEY_BYTES_MIN <= len(material) <= KEY_BYTES_MAX or len(set(material)) < KEY_BYTES_MIN // 4:
        raise ValueError("not 32 to 64 random bytes")
    return Secret(material)


KeyMaterial: TypeAlias = Annotated[
    Secret,
    reads(_key_material, "32 to 64 random bytes in hex or base64, best as ${ENV_NAME} or ${file:path}"),
    WithJsonSchema({
        "type": "string",
        "description": "32 to 64 random bytes in hex or base64, best written as ${ENV_NAME} or ${file:path}.",
    }),
]  # fmt: skip


class LedgerKey(Declared):
    """A key that seals stored answers."""

    id: Name
    secret: KeyMaterial


class Ledger(Declared):
    """Where what became of calls with an idempotency key is kept."""

    store: Annotated[StorePlace | None, *store_place(*LEDGER_SCHEMES)] = None
    disk: Annotated[int, *size("64MiB", "1024GiB")] = 4 << 30
    accept_loss: Flag = False
    prefix: Annotated[
        str,
        reads(parse_word(re.compile(r"[a-z][a-z0-9_]{0,31}"), "not a prefix"), "text: a-z, 0-9 and _"),
        text_schema(r"[a-z][a-z0-9_]{0,31}", "What names in a shared store begin with.", "faregate"),
    ] = "faregate"
    lookup_key: KeyMaterial | None = None
    keys: Annotated[list[LedgerKey], Field(max_length=KEYS_MAX)] = Field(default_factory=list)


def _store_alone(value: object) -> object:
    return {"store": value} if isinstance(value, str) else value


LedgerForm: TypeAlias = Annotated[
    Ledger,
    BeforeValidator(_store_alone),
    AlsoText({
        "type": "string",
        "pattern": rf"^(?:embedded|(?:{'|'.join(LEDGER_SCHEMES)})://\S+)$|\$\{{[^}}]+\}}",
    }),
]  # fmt: skip
