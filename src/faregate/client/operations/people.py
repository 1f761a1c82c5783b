"""Operations on people, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Literal, NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import GrantBody


class GrantsWrite(TypedDict):
    """As the admin API has it."""

    grants: list[GrantBody]


class UserRead(TypedDict):
    """As the admin API has it."""

    name: str
    display: str
    email: str
    service: bool
    state: Literal["active", "disabled"]
    second_factor: bool
    invited: bool
    """A code that sets a password is out."""
    provider: bool
    """Signs in by the provider, whose groups give the roles."""
    grants: list[GrantBody]
    created: str
    etag: str


class UserMade(TypedDict):
    """`code` sets a password once, at `POST /enrolment`; it is shown here and nowhere else."""

    user: UserRead
    code: NotRequired[str | None]


class UserPage(TypedDict):
    """As the admin API has it."""

    data: list[UserRead]
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class UserPatch(TypedDict):
    """What is left out stays. `disabled` ends all sessions and tokens at once."""

    display: NotRequired[str | None]
    email: NotRequired[str | None]
    state: NotRequired[Literal["active", "disabled"] | None]


class UserWrite(TypedDict):
    """A new user. `service`: no person; it has tokens alone."""

    name: str
    display: NotRequired[str]
    email: NotRequired[str]
    service: NotRequired[bool]


class PeopleOperations(Asking):
    """Operations on people."""

    def user_list(self, *, size: int | None = None, offset: str | None = None) -> UserPage:
        """List users: `GET /users`."""
        answer: UserPage = self._ask("user_list", query={"size": size, "offset": offset})
        return answer

    def user_create(self, body: UserWrite, *, idempotency_key: str = "") -> UserMade:
        """Make a user, without any role yet: `POST /users`."""
        answer: UserMade = self._ask("user_create", headers={"idempotency-key": idempotency_key}, body=body)
        return answer

    def user_get(self, user: str) -> UserRead:
        """One user; oneself without any role: `GET /users/{user}`."""
        answer: UserRead = self._ask("user_get", (user,))
        return answer

    def user_update(
        self, user: str, body: UserPatch, *, if_match: str = "", if_none_match: str = ""
    ) -> UserRead:
        """Change or disable a user: `PATCH /users/{user}`."""
        answer: UserRead = self._ask(
            "user_update", (user,), headers={"if-match": if_match, "if-none-match": if_none_match}, body=body
        )
        return answer

    def grants_put(
        self, user: str, body: GrantsWrite, *, if_match: str = "", if_none_match: str = ""
    ) -> UserRead:
        """A user's roles from now on; needs a fresh second factor: `PUT /users/{user}/grants`."""
        answer: UserRead = self._ask(
            "grants_put", (user,), headers={"if-match": if_match, "if-none-match": if_none_match}, body=body
        )
        return answer

    def user_recover(self, user: str) -> UserMade:
        """Let a user in again who lost password or second factor: `POST /users/{user}/recover`."""
        answer: UserMade = self._ask("user_recover", (user,))
        return answer
