"""The declared form of JSON Web Tokens: who issues them, and which subject is a consumer's own.

Whether key material and algorithms fit each other needs both fields and the key set's file: compile checks
that.
"""

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, WithJsonSchema

from faregate.model.values import (
    ONE_OR_MORE,
    Declared,
    FilePath,
    Name,
    Reference,
    SecretText,
    Subject,
    duration,
    one_or_more_schema,
    text_schema,
)
from faregate.policies.api_key.settings import Term

ASYMMETRIC: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
SECRET_BYTES_MIN: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""RFC 7518 section 3.2: a key of the size of the hash or larger."""

Algorithm: TypeAlias = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]

Audiences: TypeAlias = Annotated[
    list[Subject],
    ONE_OR_MORE,
    Field(min_length=1),
    one_or_more_schema({"type": "string", "minLength": 1}, "`aud` must name one of these."),
]


class IssuerTls(Declared):
    """Trust for fetching the key set."""

    ca: FilePath = Field(description="Certificates (PEM) that the key set's server is verified against.")


class Issuer(Declared):
    """An identity provider whose tokens are accepted; exactly one of `jwks` and `secret`."""

    issuer: Subject = Field(description="The exact `iss` of its tokens.")
    jwks: Annotated[FilePath | None, text_schema(r"\S+", "A key set file, or its https:// URL.")] = None
    secret: SecretText | None = None
    audience: Audiences
    algorithms: Annotated[list[Algorithm], Field(min_length=1)]
    consumer_claim: Annotated[
        Subject,
        WithJsonSchema(
            {"type": "string", "description": "The claim whose value names the consumer's credential."}
        ),
    ] = "sub"
    leeway: Annotated[float, *duration("0s", "5m")] = 10.0
    tls: IssuerTls | None = None


class JwtCredential(Term):
    """Tokens of an issuer whose consumer claim has this value."""

    id: Name | None = None
    issuer: Reference
    subject: Subject
