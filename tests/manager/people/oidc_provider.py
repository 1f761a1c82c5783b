"""A small OpenID provider behind a real socket: it says what a test has it say, and remembers what it was asked."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey

from faregate.snapshot.managing import GroupGrant, SigningIn

REDIRECT = "https://gateway.example/sign-in/oidc/callback"
SECRET = "p/ss:w0rd+of the client"  # what must be encoded in Basic
Claims = dict[str, Any]


class Provider:
    """``claims``: said of everybody beside what must be; ``forge``: makes the token of its claims instead."""

    def __init__(self, port: int, now_s: Callable[[], int]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.now_s = now_s
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
        self.published = [self.key]
        self.document: dict[str, Any] = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?realm=bank",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "authorization_response_iss_parameter_supported": True,
            "code_challenge_methods_supported": ["S256"],
            "acr_values_supported": ["mfa"],
        }
        self.claims: Claims = {
            "sub": "u-1",
            "preferred_username": "Ann",
            "name": "Ann Y",
            "groups": ["staff"],
        }
        self.forge: Callable[[Claims], str] = self.signed
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.faults: list[str] = []

    def signed(self, claims: Claims, key: Any = None, **header: Any) -> str:
        told = {"alg": "ES256", "kid": "one", "typ": "JWT", **header}
        registry = jws.JWSRegistry(algorithms=[told["alg"]], strict_check_header=False)
        return jws.serialize_compact(
            {name: one for name, one in told.items() if one is not None},
            json.dumps(claims).encode(),
            key or self.key,
            registry=registry,
        )

    def authorize(self, location: str) -> dict[str, str]:
        """What the browser brings back from the provider after it was sent to ``location``."""
        asked = {
            name: one[0] for name, one in parse_qs(urlsplit(location).query, strict_parsing=True).items()
        }
        assert location.startswith(f"{self.url}/authorize?realm=bank&")
        assert asked["response_type"] == "code"
        assert asked["redirect_uri"] == REDIRECT
        assert asked["code_challenge_method"] == "S256"
        code = f"code {len(self.codes)}"
        self.codes[code] = asked
        return {"state": asked["state"], "code": code, "iss": self.url}

    def _token(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        form = {name: one[0] for name, one in parse_qs(body.decode(), strict_parsing=True).items()}
        asked = self.codes.pop(form["code"], None)
        kind, _, told = headers["authorization"].partition(" ")
        name, _, secret = base64.b64decode(told).decode().partition(":")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(
            b"="
        )
        if (
            asked is None
            or kind != "Basic"
            or (unquote_plus(name), unquote_plus(secret)) != ("faregate", SECRET)
        ):
            return 400, b'{"error": "invalid_grant", "error_description": "provider says no"}'
        if challenge.decode() != asked["code_challenge"] or form["redirect_uri"] != REDIRECT:
            return 400, b'{"error": "invalid_grant"}'
        now = self.now_s()
        claims = {"iss": self.url, "aud": "faregate", "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        token = self.forge({**claims, **self.claims})
        return 200, json.dumps({"access_token": "x", "token_type": "Bearer", "id_token": token}).encode()

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if (method, path) == ("GET", "/.well-known/openid-configuration"):
            return 200, json.dumps(self.document).encode()
        if (method, path) == ("GET", "/keys"):
            keys = [one.as_dict(private=False) for one in self.published]
            return 200, json.dumps({"keys": keys}).encode()
        if (method, path) == ("POST", "/token"):
            return self._token(headers, body)
        return 404, b""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                method, path, _ = first.split(" ")
                headers = {
                    line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if line
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, told = self._answer(method, path, headers, body)
                extra = "location: http://127.0.0.1:1/\r\n" if status == 302 else ""
                writer.write(
                    f"HTTP/1.1 {status} x\r\n{extra}content-length: {len(told)}\r\n\r\n".encode() + told
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as error:  # a fault of the test, told where it is looked for
            self.faults.append(repr(error))
            raise
        finally:
            writer.close()

    def settings(self, **more: Any) -> SigningIn:
        told: dict[str, Any] = {
            "issuer": self.url,
            "client_id": "faregate",
            "client_secret": SECRET.encode(),
            "redirect": REDIRECT,
            "scopes": "openid profile",
            "groups_claim": "groups",
            "grants": (
                GroupGrant("staff", "viewer", "*"),
                GroupGrant("ops", "operator", "team:cards"),
                GroupGrant("ops", "viewer", "*"),
                GroupGrant("owners", "owner", "*"),
            ),
        }
        return SigningIn(**{**told, **more})


def hmac_with_public_key(provider: Provider, claims: Claims) -> str:
    """The classic: the published key taken for a shared secret."""
    parts = [json.dumps(one).encode() for one in ({"alg": "HS256", "kid": "one"}, claims)]
    start = b".".join(base64.urlsafe_b64encode(one).rstrip(b"=") for one in parts)
    signature = hmac.digest(provider.key.as_pem(private=False), start, "sha256")  # joserfc refuses to make it
    return (start + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@asynccontextmanager
async def open_provider(now_s: Callable[[], int]) -> AsyncIterator[Provider]:
    made: list[Provider] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await made[0]._serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.append(Provider(server.sockets[0].getsockname()[1], now_s))
    try:
        yield made[0]
    finally:
        server.close()
        await asyncio.sleep(0)
    assert not made[0].faults
