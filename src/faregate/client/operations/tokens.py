"""Operations on tokens, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import GrantBody


class TokenRead(TypedDict):
    """As the admin API has it."""

    id: str
    user: str
    note: str
    grants: list[GrantBody]
    created: str
    used: NotRequired[str | None]
    """Within about a minute."""
    expires: str


class TokenMade(TypedDict):
    """`secret` is shown here and nowhere else."""

    token: TokenRead
    secret: str


class TokenPage(TypedDict):
    """As the admin API has it."""

    data: list[TokenRead]


class TokenWrite(TypedDict):
    """`grants`: fewer roles than the user's; none: the same."""

    note: NotRequired[str]
    life_s: NotRequired[int]
    """Seconds until it ends."""
    grants: NotRequired[list[GrantBody]]


class TokensOperations(Asking):
    """Operations on tokens."""

    def token_list(self, user: str) -> TokenPage:
        """A user's tokens: `GET /users/{user}/tokens`."""
        answer: TokenPage = self._ask("token_list", (user,))
        return answer

    def token_create(self, user: str, body: TokenWrite, *, idempotency_key: str = "") -> TokenMade:
        """Make a token, of oneself or a service; needs a fresh second factor: `POST
        /users/{user}/tokens`.
        """
        answer: TokenMade = self._ask(
            "token_create", (user,), headers={"idempotency-key": idempotency_key}, body=body
        )
        return answer

    def token_revoke(self, token: str) -> None:
        """Revoke a token: `DELETE /tokens/{token}`."""
        self._ask("token_revoke", (token,))
