"""What a TLS listener is made of: one context for each certificate, chosen by the name that is asked for.

TLS 1.2 and 1.3 only, authenticated encryption with forward secrecy, no compression, no renegotiation, no
early data (http-rules.md section 5). A listener that asks for certificates gives no tickets: each connection
proves its caller anew. Building reads files and takes milliseconds; it belongs in a thread.
"""

import ipaddress
import math
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from faregate.gateway.tls.presented import Showing, watch
from faregate.snapshot.data import ListenerTls, ServerCertificate
from faregate.stores.certificates import (
    CIPHERS,
    CertificateFault,
    Revocations,
    Served,
    Stamp,
    check_key,
    read_authorities,
    read_chain,
    read_file,
    read_revocations,
    shown,
    stamp,
    try_out,
)

T = TypeVar("T")
_MODES: Final = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
NAME_BYTES_MAX: Final = 253

NameAsked = Callable[[ssl.SSLObject, "str | None"], None]
"""Called while a ClientHello is read, with the name in it."""


class Profile(NamedTuple):
    """A listener's certificates ready for use.

    ``exact`` and ``wild``: contexts by name, and by what follows the ``*``. ``ends``: seconds since the epoch
    by file; ``begins``: the same of the servers' certificates alone. ``authorities``: SHA-256 of each
    certificate that may sign callers'; empty when none is asked for. ``read``: what the files looked like
    before they were read.
    """

    first: ssl.SSLContext
    exact: dict[str, ssl.SSLContext]
    wild: dict[str, ssl.SSLContext]
    ends: dict[str, float]
    begins: dict[str, float]
    authorities: frozenset[bytes]
    revocations: Revocations | None
    asks: bool
    read: Stamp

    def context_for(self, name: str) -> ssl.SSLContext:
        """The first one for a name that no certificate has."""
        found = self.exact.get(name)
        if found is None:
            found = self.wild.get(name.partition(".")[2])  # one label, no more (RFC 9525 section 6.3)
        return self.first if found is None else found


def folded(name: str) -> str:
    """A name as it is compared: ``HOST`` and ``host.`` are ``host`` (http-rules.md section 5)."""
    return name.lower().removesuffix(".")[:NAME_BYTES_MAX]


def is_address(name: str) -> bool:
    """Whether a client put an address where only a name may stand (RFC 6066 section 3; wrk and others do).
    It asks for no name, then.
    """
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


class Worse(NamedTuple):
    """Why files that fit are not taken up yet, and until when at the latest (Unix time)."""

    why: str
    until: float


def not_yet_better(former: Profile, made: Profile, wall: float) -> Worse | None:
    """What speaks for staying with ``former``: one of its certificates is in time, and the new one in the
    same file is not. ``wall``: seconds since the epoch.
    """
    for chain, begins in made.begins.items():
        if not former.begins.get(chain, math.inf) <= wall < former.ends[chain]:
            continue
        if wall >= made.ends[chain]:
            return Worse(f"{chain}: the certificate has ended, {shown(made.ends[chain])}", former.ends[chain])
        if wall < begins:
            why = f"{chain}: the certificate is not valid before {shown(begins)}"
            return Worse(why, min(begins, former.ends[chain]))
    return None


def build(
    settings: ListenerTls, protocols: Sequence[str], asked: NameAsked, showing: Showing | None = None
) -> Profile:
    """Reads every file and makes the contexts. ``showing`` hears of the certificates that callers present.
    Raises ``CertificateFault``, which names the file.
    """
    try:
        return _build(settings, protocols, asked, showing)
    except OSError as error:  # ssl.SSLError is one: a file was replaced between two looks at it
        files = ", ".join(settings.files)
        why = error.strerror or "unknown"
        raise CertificateFault(f"{files}: changed while they were read, or unusable: {why}") from None


def _build(
    settings: ListenerTls, protocols: Sequence[str], asked: NameAsked, showing: Showing | None
) -> Profile:
    read = stamp(settings.files)
    exact: dict[str, ssl.SSLContext] = {}
    wild: dict[str, ssl.SSLContext] = {}
    ends: dict[str, float] = {}
    begins: dict[str, float] = {}
    contexts = []
    authorities: frozenset[bytes] = frozenset()
    revocations = None
    if settings.client_mode != "none":
        trusted = _of(settings.client_ca, lambda: read_authorities(read_file(settings.client_ca)))
        authorities, ends[settings.client_ca] = trusted.digests, trusted.ends
        if settings.client_crl:
            revocations = _of(settings.client_crl, lambda: read_revocations(read_file(settings.client_crl)))
            ends[settings.client_crl] = revocations.ends
    for one in settings.certificates:
        served = _of(one.chain, partial(_served, one.chain))
        _of(one.key, partial(_check_key, one))
        _of(one.chain, partial(try_out, one.chain, one.key))
        context = _context(settings, protocols)
        if showing is not None and settings.client_mode != "none":
            watch(context, showing)
        context.load_cert_chain(one.chain, one.key)
        contexts.append(context)
        ends[one.chain], begins[one.chain] = served.ends, served.begins
        for name in served.names:
            if name.startswith("*."):
                wild.setdefault(name[2:], context)
            else:
                exact.setdefault(folded(name), context)
    first = contexts[0]

    def choose(secured: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        asked(secured, name)

    first.sni_callback = choose
    asks = settings.client_mode != "none"
    return Profile(first, exact, wild, ends, begins, authorities, revocations, asks, read)


def _served(chain: str) -> Served:
    return read_chain(read_file(chain))


def _check_key(one: ServerCertificate) -> None:
    check_key(read_file(one.chain), read_file(one.key))


def _of(path: str, make: Callable[[], T]) -> T:
    """What ``make`` makes of the file at ``path``, which a fault then names."""
    try:
        return make()
    except CertificateFault as fault:
        raise CertificateFault(f"{path}: {fault}") from None


def _context(settings: ListenerTls, protocols: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(list(protocols))
    context.verify_mode = _MODES[settings.client_mode]
    if settings.client_mode == "none":
        return context
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.load_verify_locations(cafile=settings.client_ca)
    if settings.client_crl:
        context.load_verify_locations(cafile=settings.client_crl)
        # The whole chain's, so that an intermediate can be revoked as well; without a list there is no trust.
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context
