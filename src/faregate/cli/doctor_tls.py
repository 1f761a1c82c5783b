"""How ``faregate doctor`` shakes hands with ``https://`` targets: by the gateway's own settings, to the end.

Verified are chain, name, times and our own certificate, which a server may judge only after its own part of
the handshake is over (TLS 1.3), so its next word is waited for. What a refused target did present is asked
for once more, unverified, so that the finding can name it. No request is sent.
"""

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from math import ceil
from typing import Final, NamedTuple

from cryptography import x509

from faregate.gateway.upstream_tls import client_context, reason_of
from faregate.snapshot.data import Target, Upstream, UpstreamTls
from faregate.stores.certificates import CertificateFault, shown

CONNECT_S: Final = 2.0
LAST_WORD_S: Final = 0.3
"""How long a server may take to refuse our certificate, or the lack of one, once it has ended its part."""
SOON_DAYS: Final = 30
_DAY_S: Final = 86_400
_NAMES_MAX: Final = 3
_TEXT_MAX: Final = 120


class Met(NamedTuple):
    """What came of one target. ``fault``: in words, empty when all is well; ``advice``: what mends it.
    ``ends``: when its certificate does (Unix time), 0 when that is not known.
    """

    fault: str = ""
    advice: str = ""
    ends: float = 0.0


def context_of(upstream: Upstream) -> ssl.SSLContext:
    """The gateway's own. Raises ``CertificateFault`` when a file cannot be used."""
    try:
        return client_context(upstream.tls, _offered(upstream))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        settings = upstream.tls
        files = ", ".join(name for name in (settings.ca, settings.certificate, settings.key) if name)
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise CertificateFault(f"{files or 'the authorities of this machine'}: {why}") from None


async def meet(upstream: Upstream, target: Target, context: ssl.SSLContext | None) -> Met:
    """Connects to ``target``; ``context`` None: without TLS."""
    try:
        async with asyncio.timeout(CONNECT_S):
            return await _meet(upstream, target, context)
    except TimeoutError:
        what = "no TLS handshake" if context is not None else "no answer"
        return Met(f"{what} in {CONNECT_S:g} s", _ELSEWHERE)
    except ssl.SSLError as error:
        return await _refused(upstream, target, error)
    except OSError as error:
        return _unreachable(error)


def _unreachable(error: OSError) -> Met:
    if isinstance(error, ConnectionResetError):
        return Met("it ended the connection during the handshake", _ELSEWHERE)
    if isinstance(error, socket.gaierror):
        return Met("the name is not known", "correct the name in `targets`, or the machine's DNS")
    told = "refused" if isinstance(error, ConnectionRefusedError) else error.strerror or "unreachable"
    return Met(told, _START)


_START: Final = "start the service, or correct `targets`"
_ELSEWHERE: Final = "look whether the service is overloaded, and speaks TLS on this port"


async def _meet(upstream: Upstream, target: Target, context: ssl.SSLContext | None) -> Met:
    host = target.host.strip("[]")
    if context is None:
        _, writer = await asyncio.open_connection(host, target.port)
        writer.transport.abort()
        return Met()
    name = upstream.tls.server_name or host
    reader, writer = await asyncio.open_connection(host, target.port, ssl=context, server_hostname=name)
    try:
        secured = writer.get_extra_info("ssl_object")
        if upstream.protocol == "h2" and secured.selected_alpn_protocol() != "h2":
            return Met(
                "it does not offer h2 by ALPN",
                "enable HTTP/2 there, or leave `protocol: h2` out",
                _ends(secured.getpeercert(binary_form=True)),
            )
        with suppress(TimeoutError):  # it says nothing: so it is content
            await asyncio.wait_for(reader.read(1), LAST_WORD_S)
        return Met(ends=_ends(secured.getpeercert(binary_form=True)))
    finally:
        writer.transport.abort()


def _offered(upstream: Upstream) -> tuple[str, ...]:
    return ("h2",) if upstream.protocol == "h2" else ("http/1.1",)


def _ends(der: bytes | None) -> float:
    certificate = _read(der)
    return 0.0 if certificate is None else certificate.not_valid_after_utc.timestamp()


def _read(der: bytes | None) -> x509.Certificate | None:
    try:
        return None if der is None else x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        return None


# what a failed handshake means

_ALERTS_FOR_OURS: Final = (
    "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR",
)  # fmt: skip
"""Alerts by which a server refuses a client's certificate (RFC 8446 section 6.2), in OpenSSL's words."""


async def _refused(upstream: Upstream, target: Target, error: ssl.SSLError) -> Met:
    settings = upstream.tls
    if isinstance(error, ssl.SSLCertVerificationError):
        presented = await _presented(settings, target)
        return _unverified(reason_of(error).removeprefix("upstream_tls_"), error, settings, target, presented)
    reason = error.reason or ""
    if any(alert in reason for alert in _ALERTS_FOR_OURS) and "ALERT" in reason:
        return _ours_refused(reason, settings)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}:
        return Met("it does not speak TLS", "write the target as `http://`, or name the port of its TLS")
    told = reason.replace("_", " ").lower() or "no reason given"
    offered = (
        "the gateway offers TLS 1.2 and 1.3 with ECDHE and AES-GCM or ChaCha20: the service must take one"
    )
    wanted = "" if settings.certificate else "; it may also want a client certificate, `tls.certificate`"
    return Met(f"the handshake fails: {told}", offered + wanted)


def _ours_refused(reason: str, settings: UpstreamTls) -> Met:
    told = reason.partition("ALERT_")[2].replace("_", " ").lower() or reason.lower()
    if not settings.certificate:
        return Met(f"it wants a client certificate ({told})", "name one as `tls.certificate` and `tls.key`")
    return Met(
        f"it refuses our certificate {settings.certificate} ({told})",
        "renew it, or have the service trust who signed it",
    )


def _unverified(
    word: str,
    error: ssl.SSLCertVerificationError,
    settings: UpstreamTls,
    target: Target,
    presented: x509.Certificate | None,
) -> Met:
    issuer = "?" if presented is None else _plain(presented.issuer.rfc4514_string())
    ends = 0.0 if presented is None else presented.not_valid_after_utc.timestamp()
    match word:
        case "expired":
            return Met(
                f"a certificate has expired; its own ends {shown(ends)}",
                "have the service renew it; look whether this machine's clock is right",
            )
        case "not_yet_valid":
            return Met("a certificate is not valid yet", "look at this machine's clock and at the service's")
        case "wrong_name":
            wanted = settings.server_name or target.host
            return Met(
                f"its certificate is for {_names(presented)}, not for {wanted}",
                "set `tls.server_name` to a name it has, or correct the target",
            )
        case "untrusted":
            trusted = settings.ca or "the authorities of this machine"
            return Met(
                f"its certificate, signed by {issuer}, is not trusted by {trusted}",
                "name a file with its authority as `tls.ca`; the service must send its intermediates",
            )
    return Met(
        f"its certificate is refused: {_plain(error.verify_message)}",
        "have the service replace its certificate",
    )


async def _presented(settings: UpstreamTls, target: Target) -> x509.Certificate | None:
    """What the target shows to whoever comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host = target.host.strip("[]")
    name = settings.server_name or host
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, target.port, ssl=context, server_hostname=name)
    except OSError:  # TimeoutError and ssl.SSLError are such
        return None
    try:
        return _read(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    finally:
        writer.transport.abort()


def _names(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return "another name"
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*found.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, ValueError):
        names = []
    if not names:
        return "no name at all"
    more = len(names) - _NAMES_MAX
    return _plain(", ".join(names[:_NAMES_MAX])) + (f" and {more} more" if more > 0 else "")


def _plain(text: str) -> str:
    """Words of the other side, fit for one line."""
    plain = "".join(one if one.isprintable() else "?" for one in text)
    return plain if len(plain) <= _TEXT_MAX else f"{plain[:_TEXT_MAX]}..."


def days_left(ends: float) -> int:
    """Whole days until then, the last one counted."""
    return ceil((ends - time.time()) / _DAY_S)
