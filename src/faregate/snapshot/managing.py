"""What the manager is told of the configuration."""

from faregate.snapshot.frozen import Frozen


class GroupGrant(Frozen, frozen=True):
    """What one group of the provider gives: a role in a scope."""

    group: str
    role: str
    scope: str


class SigningIn(Frozen, frozen=True):
    """The OpenID provider that people sign in by. ``second_factor``: whose counts, own or provider."""

    issuer: str
    client_id: str
    client_secret: bytes
    redirect: str
    scopes: str
    groups_claim: str
    grants: tuple[GroupGrant, ...]
    second_factor: str = "own"

    def __repr__(self) -> str:
        return f"SigningIn(issuer={self.issuer!r}, client_id={self.client_id!r}, client_secret=***)"


class Managing(Frozen, frozen=True):
    """``store``: embedded, or the URL of a PostgreSQL, which may hold a password. ``approval``: which changes
    wait for a second person: off, guarded or all. ``master_key``: seals the database's data keys; empty: the
    one in the data folder. ``sign_in``: None where people have passwords alone. ``trusted_proxies``: networks
    whose ``X-Forwarded-For`` is believed.
    """

    store: str = "embedded"
    approval: str = "off"
    master_key: bytes = b""
    sign_in: SigningIn | None = None
    trusted_proxies: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Managing(store=***, approval={self.approval!r}, master_key=***, sign_in={self.sign_in!r})"
