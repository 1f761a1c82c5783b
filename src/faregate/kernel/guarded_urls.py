"""URLs that what is secret may be sent to: https, or this machine itself.

One rule for what people write in the configuration and for what a provider says of itself; the text of an
error never repeats the URL, which may hold a password.
"""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

URL_CHARACTERS_MAX: Final = 2048


def check_guarded(url: str, *, query: bool = False, loopback: bool = True) -> None:
    """Raises ValueError unless ``url`` is https, or http on this machine where ``loopback`` allows it; it has
    no user, no fragment, and a query only where ``query`` allows it.
    """
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("not a URL")
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if not host or port == 0 or "\\" in url:
        raise ValueError("not a URL")
    if "@" in parts.netloc or "#" in url or ("?" in url and not query):
        raise ValueError("a user, a fragment or a query has no place in it")
    if parts.scheme != "https" and not (loopback and parts.scheme == "http" and is_this_machine(host)):
        raise ValueError("it begins with https://, or is this machine itself")


def is_this_machine(host: str) -> bool:
    """Whether ``host`` is a loopback address, or ``localhost`` (RFC 6761 section 6.3)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
