"""Operations on sign-in, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import GrantBody, SessionMade


class CodeWrite(TypedDict):
    """As the admin API has it."""

    code: str
    """Six digits."""


class Ended(TypedDict):
    """As the admin API has it."""

    ended: int


class EnrolmentWrite(TypedDict):
    """`code`: from the invitation."""

    user: str
    code: str
    password: str
    """A new password."""


class PasswordWrite(TypedDict):
    """As the admin API has it."""

    password: str
    fresh: str
    """A new password."""


class SeedRead(TypedDict):
    """Shown here and nowhere else. `address` as authenticators scan it."""

    seed: str
    address: str


class SeedWrite(TypedDict):
    """`password`: not needed within five minutes of a sign-in by the provider."""

    password: NotRequired[str]


class SessionRead(TypedDict):
    """As the admin API has it."""

    id: str
    current: bool
    opened: str
    used: str
    expires: str
    address: str


class SessionPage(TypedDict):
    """As the admin API has it."""

    data: list[SessionRead]


class SignInWrite(TypedDict):
    """`code`: of the second factor, for who has one."""

    user: str
    password: str
    code: NotRequired[str]


class WhoRead(TypedDict):
    """Who asks, and what they may do. `csrf` only for a session."""

    person: str
    service: bool
    credential: str
    grants: list[GrantBody]
    second_factor: NotRequired[str | None]
    """When it was last shown."""
    break_glass: NotRequired[str | None]
    expires: NotRequired[str | None]
    csrf: NotRequired[str | None]


class SignInOperations(Asking):
    """Operations on sign-in."""

    def session_list(self) -> SessionPage:
        """One's own sessions: `GET /sessions`."""
        answer: SessionPage = self._ask("session_list")
        return answer

    def session_create(self, body: SignInWrite) -> SessionMade:
        """Sign in: `POST /sessions`."""
        answer: SessionMade = self._ask("session_create", body=body)
        return answer

    def session_end_others(self) -> Ended:
        """End all of one's sessions but this one: `DELETE /sessions`."""
        answer: Ended = self._ask("session_end_others")
        return answer

    def session_get(self) -> WhoRead:
        """Who asks, and what they may do: `GET /session`."""
        answer: WhoRead = self._ask("session_get")
        return answer

    def session_delete(self) -> None:
        """Sign out: `DELETE /session`."""
        self._ask("session_delete")

    def session_end(self, session: str) -> None:
        """End one of them: `DELETE /sessions/{session}`."""
        self._ask("session_end", (session,))

    def second_factor(self, body: CodeWrite) -> SessionMade:
        """Show the second factor again, for what needs it fresh: `POST /session/second-factor`."""
        answer: SessionMade = self._ask("second_factor", body=body)
        return answer

    def totp_begin(self, body: SeedWrite) -> SeedRead:
        """Set up a second factor: `POST /session/totp`."""
        answer: SeedRead = self._ask("totp_begin", body=body)
        return answer

    def totp_confirm(self, body: CodeWrite) -> SessionMade:
        """Confirm the second factor with its first code: `POST /session/totp/confirm`."""
        answer: SessionMade = self._ask("totp_confirm", body=body)
        return answer

    def password_change(self, body: PasswordWrite) -> None:
        """Change one's password; other sessions end: `POST /session/password`."""
        self._ask("password_change", body=body)

    def enrol(self, body: EnrolmentWrite) -> None:
        """Set a password with the code of an invitation: `POST /enrolment`."""
        self._ask("enrol", body=body)

    def oidc_begin(self, *, fresh: bool | None = None) -> None:
        """Go to the provider to sign in; `fresh`: prove it anew there: `GET /sign-in/oidc`."""
        self._ask("oidc_begin", query={"fresh": fresh})

    def oidc_callback(
        self,
        *,
        state: str | None = None,
        code: str | None = None,
        error: str | None = None,
        iss: str | None = None,
    ) -> None:
        """Come back from the provider, signed in: `GET /sign-in/oidc/callback`."""
        self._ask("oidc_callback", query={"state": state, "code": code, "error": error, "iss": iss})
