"""Warnings about who may call: keys at their end, keys that everybody knows, permissions that nobody holds.

None of these keeps a configuration from running; each means that somebody's calls are refused, soon or
already, or that a stranger's are not.
"""

from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from math import ceil
from typing import Final

from faregate.compile.walk import mapping, value_at
from faregate.model.apis import Api, Route
from faregate.model.config import Config
from faregate.model.diagnostics import Findings, TreePath, Value

DAY_S: Final = 86_400
SOON_DAYS: Final = 30
"""How long before its end a key is warned of: time to hand out another."""

SAMPLE_KEYS: Final = (
    *("", "0", "1", "123", "1234", "12345", "123456", "12345678", "123456789", "1234567890"),
    *("abc", "abc123", "abcdef", "admin", "api-key", "api_key", "apikey", "bar", "changeit", "changeme"),
    *("default", "demo", "dev", "example", "faregate", "foo", "foobar", "guest", "hello", "hello world"),
    *("helloworld", "key", "letmein", "my-api-key", "my-key", "my-secret", "my_api_key", "my_secret"),
    *("mykey", "mysecret", "none", "null", "pass", "password", "qwerty", "root", "s3cr3t", "sample"),
    *("secret", "some-secret", "string", "supersecret", "test", "test-key", "test_key", "test123", "testing"),
    *("testkey", "todo", "token", "user", "xxx", "your-api-key", "your-secret", "your_api_key"),
    "fg_live_7Q2vXk1mN8pR4tZ6wB3cD5eF9gH0jK2L",  # of docs/policies/api_key.md
    "fg_live_KdT0aJb4WqYxE8sVnR2mLhC6uZpG1o18EIJL",  # of docs/guides/keys.md
)
"""Keys that stand in documentation, tutorials and lists of words that are tried first."""

SAMPLE_SECRETS: Final = frozenset({
    b"a-string-secret-at-least-256-bits-long",  # the examples of jwt.io
    b"a-valid-string-secret-that-is-at-least-384-bits-long",
    b"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",  # RFC 7515 A.1
})  # fmt: skip
"""Shared secrets that stand in documentation and are long enough for their algorithm."""

_ALIKE: Final = 0.85
"""`refunds:write` is not taken for a misspelt `payments:write`."""

_NEW_KEY: Final = "the digest of a key of 128 random bits or more"


@cache
def sample_digests() -> frozenset[bytes]:
    """SHA-256 of each of ``SAMPLE_KEYS``."""
    return frozenset(sha256(key.encode()).digest() for key in SAMPLE_KEYS)


def lint_callers(config: Config, data: dict[str, Value], wall: float, findings: Findings) -> None:
    """Adds the warnings; ``data`` is the tree as written, ``wall`` seconds since the epoch."""
    _lint_credentials(config, wall, findings)
    for name, issuer in config.issuers.items():
        if issuer.secret is not None and issuer.secret.reveal() in SAMPLE_SECRETS:
            message = "a secret that stands in documentation: anyone can make a token"
            findings.add(
                "sample_credential", ("issuers", name, "secret"), message, expected="a secret of random bytes"
            )
    if all(  # else one with an error may hold it
        known.keys() == mapping(data.get(section)).keys()
        for section, known in (("consumers", config.consumers), ("groups", config.groups))
    ):
        _lint_permissions(config, data, findings)


def _lint_credentials(config: Config, wall: float, findings: Findings) -> None:
    samples = sample_digests()
    for name, consumer in config.consumers.items():
        for index, credential in enumerate(consumer.credentials):
            key, token, certificate = credential.api_key, credential.jwt, credential.mtls
            if key is not None and key.sha256 in samples:
                message = f"the digest of a key that everybody knows: anyone can call as `{name}`"
                place = ("consumers", name, "credentials", index, "api_key", "sha256")
                findings.add("sample_credential", place, message, expected=_NEW_KEY)
            if key is not None and key.expires is None:
                continue  # most of 100,000
            for kind, noun, term in (
                ("api_key", "key", key),
                ("jwt", "credential", token),
                ("mtls", "credential", certificate),
            ):
                if term is not None and term.expires is not None:
                    path: TreePath = ("consumers", name, "credentials", index, kind, "expires")
                    _lint_end(path, noun, term.expires - wall, findings)


def _lint_end(path: TreePath, noun: str, left_s: float, findings: Findings) -> None:
    if left_s <= 0:
        message = f"this {noun} has expired: calls with it are refused"
        findings.add("credential_expired", path, message, expected=f"a new {noun}, or this entry taken out")
    elif left_s <= SOON_DAYS * DAY_S:
        days = ceil(left_s / DAY_S)
        message = f"this {noun} expires within {days} day{'' if days == 1 else 's'}"
        findings.add("credential_expires", path, message, expected=f"a new {noun} beside it before then")


def _lint_permissions(config: Config, data: dict[str, Value], findings: Findings) -> None:
    """One finding for each permission that nobody holds, at the first route that requires it."""
    grants = {grant for consumer in config.consumers.values() for grant in consumer.permissions}
    for group in {name for consumer in config.consumers.values() for name in consumer.groups}:
        if group in config.groups:  # reported elsewhere
            grants.update(config.groups[group].permissions)
    held = {grant.partition("@")[0] for grant in grants}
    places: dict[str, list[TreePath]] = {}
    for name, api in config.apis.items():
        if api.authenticate:  # a public API cannot require anything; that is an error of its own
            for path, routes in _route_lists(name, api):
                for index, route in enumerate(routes):
                    for number, permission in enumerate(route.require):
                        if permission not in held:
                            place: TreePath = (*path, index, "require")
                            places.setdefault(permission, []).append(_exact(data, place, number))
    for permission, paths in places.items():
        more = len(paths) - 1
        others = "" if not more else f", nor {more} other{'' if more == 1 else 's'} that require it"
        findings.add(
            "ungranted_permission",
            paths[0],
            f"no consumer holds `{permission}`: nobody may call this route{others}",
            expected=f"a consumer with `{permission}` among its `permissions`",
            nearest="".join(get_close_matches(permission, held, n=1, cutoff=_ALIKE)),
        )


def _route_lists(name: str, api: Api) -> list[tuple[TreePath, list[Route]]]:
    lists: list[tuple[TreePath, list[Route]]] = [(("apis", name, "routes"), api.routes)]
    for version, settings in api.by_name.items():
        lists.append((("apis", name, "versions", version, "routes"), settings.routes or []))
    return lists


def _exact(data: dict[str, Value], path: TreePath, number: int) -> TreePath:
    """The place of one of several permissions; a single one may be written without a list."""
    return (*path, number) if isinstance(value_at(data, path), list) else path
