"""The base of everything in a snapshot."""

import msgspec


class Frozen(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all snapshot records."""
