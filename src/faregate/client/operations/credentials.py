"""Operations on credentials, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, Literal, NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import EntryPage, EntryRead


class CredentialWrite(TypedDict):
    """A certificate or a token's subject; exactly one of `mtls` and `jwt`."""

    mtls: NotRequired[dict[str, Any] | None]
    jwt: NotRequired[dict[str, Any] | None]


class KeyMade(TypedDict):
    """`secret` is shown here and nowhere else."""

    credential: EntryRead
    secret: str
    published: bool


class KeyRoll(TypedDict):
    """How the old key ends."""

    overlap_s: NotRequired[int]
    """Seconds both keys work."""
    life_s: NotRequired[int | None]
    """Seconds until it ends; absent: it does not."""


class KeyWrite(TypedDict):
    """A key to be made."""

    mode: NotRequired[Literal["live", "test"]]
    life_s: NotRequired[int | None]
    """Seconds until it ends; absent: it does not."""
    note: NotRequired[str]


class CredentialsOperations(Asking):
    """Operations on credentials."""

    def credential_list(
        self, *, size: int | None = None, offset: str | None = None, consumer: str | None = None
    ) -> EntryPage:
        """List credentials: `GET /credentials`."""
        answer: EntryPage = self._ask(
            "credential_list", query={"size": size, "offset": offset, "consumer": consumer}
        )
        return answer

    def credential_get(self, credential: str) -> EntryRead:
        """One credential: `GET /credentials/{credential}`."""
        answer: EntryRead = self._ask("credential_get", (credential,))
        return answer

    def credential_revoke(self, credential: str, *, reason: str = "") -> None:
        """Revoke a credential for good: `DELETE /credentials/{credential}`."""
        self._ask("credential_revoke", (credential,), headers={"x-faregate-reason": reason})

    def key_create(
        self, name: str, body: KeyWrite, *, reason: str = "", idempotency_key: str = ""
    ) -> KeyMade:
        """Make an API key: `POST /consumers/{name}/keys`."""
        answer: KeyMade = self._ask(
            "key_create",
            (name,),
            headers={"x-faregate-reason": reason, "idempotency-key": idempotency_key},
            body=body,
        )
        return answer

    def key_roll(
        self, credential: str, body: KeyRoll, *, reason: str = "", idempotency_key: str = ""
    ) -> KeyMade:
        """Replace an API key by a new one: `POST /credentials/{credential}/roll`."""
        answer: KeyMade = self._ask(
            "key_roll",
            (credential,),
            headers={"x-faregate-reason": reason, "idempotency-key": idempotency_key},
            body=body,
        )
        return answer

    def credential_put(
        self, name: str, credential: str, body: CredentialWrite, *, reason: str = ""
    ) -> EntryRead:
        """Add or replace a certificate or a token's subject: `PUT
        /consumers/{name}/credentials/{credential}`.
        """
        answer: EntryRead = self._ask(
            "credential_put", (name, credential), headers={"x-faregate-reason": reason}, body=body
        )
        return answer
