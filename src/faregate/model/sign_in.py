"""The declared form of ``gateway.manager.sign_in``: the OpenID provider that people of the manager sign in
by, and what its groups give.

It stands in the file alone: who may become an owner is not changed by the API.
"""

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, WithJsonSchema

from faregate.kernel.guarded_urls import check_guarded
from faregate.model.values import (
    REFERENCE_PATTERN,
    Declared,
    SecretText,
    Subject,
    fault,
    parse_word,
    reads,
    text_schema,
)

CALLBACK: Final = "/sign-in/oidc/callback"
GRANTS_MAX: Final = 100
"""Over all groups; so many has a user at most."""
_SCOPE: Final = re.compile(r"\*|team:[a-z0-9][a-z0-9-]{0,62}|api:[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WORD: Final = r"[!#-\[\]-~]{1,64}"
_WORDS: Final = re.compile(rf"{_WORD}(?: {_WORD}){{0,15}}")
_CLAIM: Final = r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}"
_GROUP: Final = r"[ -~]{1,128}"


def _issuer(text: str) -> str:
    check_guarded(text)
    return text


def _redirect(text: str) -> str:
    check_guarded(text)
    if not text.endswith(CALLBACK):
        raise ValueError(f"it ends with {CALLBACK}")
    return text


def _scopes(text: str) -> str:
    if not _WORDS.fullmatch(text) or "openid" not in text.split(" "):
        raise ValueError("openid is missing, or it is not a list of words with one space between them")
    return text


class SignInGrant(Declared):
    """A role in a scope."""

    role: Literal["viewer", "operator", "approver", "owner", "auditor"]
    scope: Annotated[
        str,
        reads(parse_word(_SCOPE, "not a scope"), "text: *, team:NAME or api:NAME"),
        text_schema(_SCOPE.pattern, "`*`, `team:NAME` or `api:NAME`.", "*", "team:cards"),
    ] = "*"


Group: TypeAlias = Annotated[
    str,
    reads(parse_word(re.compile(_GROUP), "not a group"), "text: 1 to 128 visible ASCII characters"),
    WithJsonSchema({"type": "string", "pattern": f"^{_GROUP}$"}),
]


def _few(grants: dict[str, list[SignInGrant]]) -> dict[str, list[SignInGrant]]:
    if sum(len(given) for given in grants.values()) > GRANTS_MAX:
        raise fault("bad_value", "too many roles", f"{GRANTS_MAX} roles over all groups at most")
    return grants


class SignIn(Declared):
    """An OpenID provider that people of the manager sign in by."""

    issuer: Annotated[
        str,
        reads(_issuer, "text: an https:// URL, exactly as the provider writes it"),
        text_schema(r"https?://\S+", "The provider, exactly as it writes itself.", "https://id.bank.example"),
    ]
    client_id: Subject
    client_secret: SecretText
    redirect: Annotated[
        str,
        reads(_redirect, f"text: an https:// URL that ends with {CALLBACK}"),
        text_schema(
            rf"https?://\S+{CALLBACK}",
            "Where the provider sends browsers back to, as it is registered there.",
            f"https://gateway.bank.example{CALLBACK}",
        ),
    ]
    scopes: Annotated[
        str,
        reads(_scopes, "text: words with one space between them, openid among them"),
        WithJsonSchema({
            "type": "string",
            "pattern": f"^{_WORDS.pattern}$|{REFERENCE_PATTERN}",
            "description": "What is asked of the provider; `openid` is among it.",
        }),
    ] = "openid profile email"  # fmt: skip
    groups_claim: Annotated[
        str,
        reads(parse_word(re.compile(_CLAIM), "not a claim"), "text: the name of a claim"),
        text_schema(_CLAIM, "The claim of the ID token that lists groups.", "groups"),
    ] = "groups"
    grants: Annotated[
        dict[Group, Annotated[list[SignInGrant], Field(min_length=1)]],
        Field(min_length=1),
        AfterValidator(_few),
    ]
    second_factor: Literal["own", "provider"] = "own"
