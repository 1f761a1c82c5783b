"""What a record says of its call, for people and for the resolver; stores keep it unread.

Written once a claim, so it is small and quick to write. It holds nothing of the body, and the caller's own
key only sealed.
"""

from typing import Final

import msgspec

from faregate.stores.ledger.protocol import ABOUT_BYTES_MAX

RESOLVER: Final = "resolver"
"""How a record names the query that settled it; no person goes by it."""
_PATH_CHARACTERS_MAX: Final = 1024


class About(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The call of a record. ``route``: its label; ``at``: seconds since the epoch; ``path``: normalised.

    ``sealed_key``: the caller's key, sealed with the record's key and attempt.
    """

    consumer: str
    api: str
    version: str
    route: str
    request_id: str
    method: str
    path: str
    at: float
    sealed_key: bytes = b""


written: Final = msgspec.msgpack.Encoder().encode
"""All of it, however long; as it stands it is kept only up to ``ABOUT_BYTES_MAX``."""
_decode: Final = msgspec.msgpack.Decoder(About).decode


def encode_about(about: About) -> bytes:
    """At most ``ABOUT_BYTES_MAX``: a path too long for that ends in ``...`` and fits no route any more."""
    encoded = written(about)
    if len(encoded) <= ABOUT_BYTES_MAX:
        return encoded
    cut = about.path.encode()[:_PATH_CHARACTERS_MAX].decode(errors="ignore") + "..."
    encoded = written(msgspec.structs.replace(about, path=cut))
    if len(encoded) <= ABOUT_BYTES_MAX:
        return encoded
    # names of hundreds of characters each; what the record stands for is not needed to keep it
    return written(msgspec.structs.replace(about, path="", route=about.route[:256], sealed_key=b""))


def decode_about(encoded: bytes) -> About:
    """What ``encode_about`` wrote. Raises ``ValueError``."""
    return _decode(encoded)
