"""What an OpenID provider is asked: its discovery document, its keys, and tokens for codes.

Everything is bounded in size and time, goes to https (or this machine) alone, follows no redirect, and is
kept for a while: a stranger who begins sign-ins causes no requests to the provider. After a failure nobody
asks again for some seconds. What the provider says about a failure is never repeated.
"""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2

from faregate.kernel.guarded_urls import check_guarded
from faregate.kernel.strict_json import JsonObject, decode_object
from faregate.manager.cases.ports import Clock
from faregate.manager.people.id_tokens import (
    ALGORITHMS,
    TOKEN_BYTES_MAX,
    Expected,
    Proven,
    TokenFault,
    take_apart,
    verified,
)
from faregate.snapshot.managing import SigningIn
from faregate.stores.jwk import KEY_SET_BYTES_MAX, KeySet, KeySetError, parse_key_set

TOTAL_S: Final = 10.0
"""For one request, the body included."""
DOCUMENT_BYTES_MAX: Final = 256 << 10
ANSWER_BYTES_MAX: Final = 256 << 10
DISCOVERY_MS: Final = 3_600_000
"""How long a discovery document is believed."""
KEYS_MS: Final = 300_000
"""How long a key set is: a key that the provider removed is refused after this."""
KEYS_AGAIN_MS: Final = 10_000
"""Least time between two fetches of keys for tokens that name an unknown one."""
PAUSE_MS: Final = 5_000
"""After a failure."""


class ProviderError(Exception):
    """The provider cannot be used now; the text is one word for the audit tree."""


class ProviderRefusal(Exception):  # noqa: N818 - the provider's word, not a failure of ours
    """The provider gave no token for a code; the text is one word for the audit tree."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Of one provider. ``names_itself``: it says ``iss`` in its answers (RFC 9207); ``mfa``: it can be asked
    for ``acr`` mfa.
    """

    authorization: str
    token: str
    keys: str
    names_itself: bool
    mfa: bool


@dataclass(slots=True)
class _Kept:
    """What is known of one issuer, and since when."""

    issuer: str
    endpoints: Endpoints | None = None
    endpoints_ms: int = 0
    keys: KeySet | None = field(default=None, repr=False)
    keys_ms: int = 0
    failed_ms: dict[str, int] = field(default_factory=dict)


class Provider:
    """A client of the provider that ``gateway.manager.sign_in`` names."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client: httpx2.AsyncClient | None = None
        self._kept = _Kept("")
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def endpoints(self, settings: SigningIn) -> Endpoints:
        """Raises ProviderError."""
        async with self._turn:
            return await self._endpoints(self._known(settings))

    async def exchange(self, settings: SigningIn, code: str, verifier: str) -> bytes:
        """The ID token for ``code`` (RFC 6749 section 4.1.3, RFC 7636). Raises ProviderError,
        ProviderRefusal.
        """
        found = await self.endpoints(settings)
        # RFC 6749 section 2.3.1: both are form-encoded before they are joined
        name, secret = quote_plus(settings.client_id), quote_plus(settings.client_secret)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect,
            "code_verifier": verifier,
        }
        headers = {
            "Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode(),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        status, body = await self._ask("POST", found.token, ANSWER_BYTES_MAX, headers, urlencode(form))
        if status != 200:
            if status >= 500 or status == 429:
                raise ProviderError("token_endpoint_failed")
            raise ProviderRefusal("code_refused")
        token = _object(body, "token_answer_malformed").get("id_token")
        if not isinstance(token, str) or not token.isascii() or len(token) > TOKEN_BYTES_MAX:
            raise ProviderRefusal("no_id_token")
        return token.encode()

    async def proven(self, settings: SigningIn, token: bytes, nonce: str) -> Proven:
        """Who ``token`` proves. Raises TokenFault, ProviderError."""
        parts = take_apart(token)
        expected = Expected(settings.issuer, settings.client_id, nonce, settings.groups_claim)
        try:
            return verified(parts, await self._keys(settings), expected, self._clock() / 1000)
        except TokenFault as fault:
            if fault.reason != "unknown_key":
                raise
        return verified(
            parts, await self._keys(settings, again=True), expected, self._clock() / 1000
        )  # a key may be new

    def _known(self, settings: SigningIn) -> _Kept:
        if self._kept.issuer != settings.issuer:
            self._kept = _Kept(settings.issuer)
        return self._kept

    async def _endpoints(self, kept: _Kept) -> Endpoints:
        now = self._clock()
        if kept.endpoints is None or now - kept.endpoints_ms >= DISCOVERY_MS:
            url = kept.issuer.rstrip("/") + "/.well-known/openid-configuration"
            text = await self._document(kept, "discovery", url, DOCUMENT_BYTES_MAX)
            try:
                kept.endpoints = _read_discovery(text, kept.issuer)
            except ProviderError:
                kept.failed_ms["discovery"] = now
                raise
            kept.endpoints_ms = now
        return kept.endpoints

    async def _keys(self, settings: SigningIn, *, again: bool = False) -> KeySet:
        async with self._turn:
            kept, now = self._known(settings), self._clock()
            life = KEYS_AGAIN_MS if again else KEYS_MS
            if kept.keys is None or now - kept.keys_ms >= life:
                url = (await self._endpoints(kept)).keys
                text = await self._document(kept, "keys", url, KEY_SET_BYTES_MAX)
                try:
                    kept.keys = parse_key_set(text, ALGORITHMS)
                except KeySetError:
                    kept.keys = None
                    kept.failed_ms["keys"] = now
                    raise ProviderError("keys_not_usable") from None
                kept.keys_ms = now
            return kept.keys

    async def _document(self, kept: _Kept, what: Literal["discovery", "keys"], url: str, most: int) -> bytes:
        now = self._clock()
        if now - kept.failed_ms.get(what, -PAUSE_MS) < PAUSE_MS:
            raise ProviderError(f"{what}_failed")
        kept.failed_ms[what] = now  # until it is good
        status, body = await self._ask("GET", url, most, {}, None)
        if status != 200:
            raise ProviderError(f"{what}_failed")
        del kept.failed_ms[what]
        return body

    async def _ask(
        self, method: str, url: str, most: int, headers: Mapping[str, str], content: str | None
    ) -> tuple[int, bytes]:
        """The status and body of an answer of ``most`` bytes. Raises ProviderError."""
        if self._client is None:
            # certificates as the system trusts them; SSL_CERT_FILE names others
            self._client = httpx2.AsyncClient(verify=ssl.create_default_context(), trust_env=False)
        self._client.cookies.clear()  # people's tokens are asked for one by one: nothing is kept between them
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        body = bytearray()
        try:
            async with (
                asyncio.timeout(TOTAL_S),
                self._client.stream(method, url, headers=sent, content=content) as answer,
            ):
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise ProviderError("answer_encoded")
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > most:
                        raise ProviderError("answer_too_large")
                return answer.status_code, bytes(body)
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
            raise ProviderError("not_reached") from error


def _read_discovery(text: bytes, issuer: str) -> Endpoints:
    """OpenID Connect Discovery 1.0, section 3. Raises ProviderError."""
    told = _object(text, "discovery_malformed")
    if told.get("issuer") != issuer:
        raise ProviderError("discovery_of_another")  # section 4.3: identical, or it is not its own
    if not _offers(told, "code_challenge_methods_supported", "S256"):
        raise ProviderError("discovery_without_pkce")
    if not _offers(told, "token_endpoint_auth_methods_supported", "client_secret_basic"):
        raise ProviderError("discovery_without_basic")
    levels = told.get("acr_values_supported")
    return Endpoints(
        _endpoint(told, "authorization_endpoint", issuer),
        _endpoint(told, "token_endpoint", issuer),
        _endpoint(told, "jwks_uri", issuer),
        told.get("authorization_response_iss_parameter_supported") is True,
        isinstance(levels, list) and "mfa" in levels,
    )


def _offers(told: JsonObject, member: str, wanted: str) -> bool:
    """Whether a list of what is supported, where there is one, holds ``wanted``."""
    listed = told.get(member, [wanted])
    return isinstance(listed, list) and wanted in listed


def _endpoint(told: JsonObject, member: str, issuer: str) -> str:
    url = told.get(member)
    if not isinstance(url, str):
        raise ProviderError("discovery_malformed")
    try:
        check_guarded(url, query=True, loopback=urlsplit(issuer).scheme == "http")
    except ValueError:
        raise ProviderError("discovery_malformed") from None
    return url


def _object(text: bytes, otherwise: str) -> JsonObject:
    try:
        return decode_object(text)
    except ValueError:
        raise ProviderError(otherwise) from None
