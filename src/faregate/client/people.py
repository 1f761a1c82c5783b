"""People and services, how they sign in, and what two of them decide together."""
# mypy: disable-error-code="empty-body"
# the head of a method is its declaration, see declaring.py

from collections.abc import Iterator, Sequence
from typing import Literal, Unpack

from faregate.client.declaring import Group, Key, Match, listing, operation
from faregate.client.people_forms import (
    BreakGlass,
    BreakGlassMade,
    Change,
    ChangeShown,
    ChangeState,
    Ended,
    Grant,
    Seed,
    Session,
    SessionMade,
    Token,
    TokenMade,
    User,
    UserMade,
    Verdict,
    Who,
)


class Users(Group):
    """People and services that use the manager."""

    @operation("user_get", "GET", "/users/{user}")
    def get(self, user: str) -> User:
        """One user; oneself without any role."""

    @operation("user_create", "POST", "/users", once=("code",))
    def create(
        self, name: str, *, display: str = "", email: str = "", service: bool = False, **said: Unpack[Key]
    ) -> UserMade:
        """Make a user, without any role yet.

        ``service``: no person; it has tokens alone.
        """

    @operation("user_update", "PATCH", "/users/{user}")
    def update(
        self,
        user: str,
        *,
        display: str | None = None,
        email: str | None = None,
        state: Literal["active", "disabled"] | None = None,
        **said: Unpack[Match],
    ) -> User:
        """Change or disable a user.

        What is left out stays. ``disabled`` ends all sessions and tokens at once.
        """

    @operation("grants_put", "PUT", "/users/{user}/grants")
    def grant(self, user: str, grants: Sequence[Grant], **said: Unpack[Match]) -> User:
        """A user's roles from now on; needs a fresh second factor."""

    @operation("user_recover", "POST", "/users/{user}/recover", once=("code",))
    def recover(self, user: str) -> UserMade:
        """Let a user in again who lost password or second factor."""

    @listing("user_list", "/users")
    def list(self, *, size: int | None = None) -> Iterator[User]:
        """List users."""


class Tokens(Group):
    """What programs sign in with."""

    @operation("token_create", "POST", "/users/{user}/tokens", once=("secret",))
    def create(
        self,
        user: str,
        *,
        note: str = "",
        life_s: int | None = None,
        grants: Sequence[Grant] = (),
        **said: Unpack[Key],
    ) -> TokenMade:
        """Make a token, of oneself or a service; needs a fresh second factor.

        ``life_s``: seconds until it ends, 90 days unless told; ``grants``: fewer roles than the user's; none:
        the same.
        """

    @operation("token_revoke", "DELETE", "/tokens/{token}")
    def revoke(self, token: str) -> None:
        """Revoke a token."""

    @listing("token_list", "/users/{user}/tokens")
    def list(self, user: str) -> Iterator[Token]:
        """A user's tokens."""


class SignIn(Group):
    """Sessions, passwords and second factors: for programs that let people sign in."""

    @operation("session_get", "GET", "/session")
    def get(self) -> Who:
        """Who asks, and what they may do."""

    @operation("session_create", "POST", "/sessions")
    def create(self, user: str, password: str, *, code: str = "") -> SessionMade:
        """Sign in.

        ``code``: of the second factor, for who has one.
        """

    @operation("session_delete", "DELETE", "/session")
    def delete(self) -> None:
        """Sign out."""

    @operation("session_end", "DELETE", "/sessions/{session}")
    def end(self, session: str) -> None:
        """End one of them."""

    @operation("session_end_others", "DELETE", "/sessions")
    def end_others(self) -> Ended:
        """End all of one's sessions but this one."""

    @operation("second_factor", "POST", "/session/second-factor")
    def second_factor(self, code: str) -> SessionMade:
        """Show the second factor again, for what needs it fresh."""

    @operation("totp_begin", "POST", "/session/totp", once=("seed", "address"))
    def totp_begin(self, *, password: str = "") -> Seed:
        """Set up a second factor.

        ``password``: not needed within five minutes of a sign-in by the provider.
        """

    @operation("totp_confirm", "POST", "/session/totp/confirm")
    def totp_confirm(self, code: str) -> SessionMade:
        """Confirm the second factor with its first code."""

    @operation("password_change", "POST", "/session/password")
    def change_password(self, password: str, fresh: str) -> None:
        """Change one's password; other sessions end.

        ``fresh``: the new one.
        """

    @operation("enrol", "POST", "/enrolment")
    def enrol(self, user: str, code: str, password: str) -> None:
        """Set a password with the code of an invitation."""

    @operation("oidc_begin", "GET", "/sign-in/oidc")
    def oidc_begin(self, *, fresh: bool = False) -> None:
        """Go to the provider to sign in; `fresh`: prove it anew there."""

    @operation("oidc_callback", "GET", "/sign-in/oidc/callback")
    def oidc_callback(
        self,
        *,
        state: str | None = None,
        code: str | None = None,
        error: str | None = None,
        iss: str | None = None,
    ) -> None:
        """Come back from the provider, signed in."""

    @listing("session_list", "/sessions")
    def list(self) -> Iterator[Session]:
        """One's own sessions."""


class Changes(Group):
    """Changes that wait for a second person, or for their hour."""

    @operation("change_get", "GET", "/changes/{change}")
    def get(self, change: str) -> ChangeShown:
        """One change request: what it would do, and what was said of it."""

    @operation("change_propose", "POST", "/changes/{change}/propose")
    def propose(self, change: str) -> ChangeShown:
        """Make a token's draft one's own, for another to approve."""

    @operation("change_decide", "POST", "/changes/{change}/decisions")
    def decide(self, change: str, verdict: Verdict, hash_: str, *, reason: str = "") -> ChangeShown:
        """Approve or reject; needs a fresh second factor.

        ``hash_``: of what was read; another one is refused.
        """

    @operation("change_withdraw", "POST", "/changes/{change}/withdraw")
    def withdraw(self, change: str) -> ChangeShown:
        """Take a change request back."""

    @listing("change_list", "/changes")
    def list(self, *, state: ChangeState | None = None, size: int | None = None) -> Iterator[Change]:
        """Change requests, the newest first."""


class GlassBreaking(Group):
    """Acting alone in an emergency, and the review of it."""

    @operation("break_glass", "POST", "/break-glass")
    def begin(self, reason: str, *, minutes: int = 60) -> BreakGlassMade:
        """Own the gateway for an hour without a second person; everybody learns of it."""

    @operation("break_glass_end", "POST", "/break-glass/{act}/end")
    def end(self, act: str) -> BreakGlass:
        """End it before its time."""

    @operation("break_glass_review", "POST", "/break-glass/{act}/review")
    def review(self, act: str, finding: str) -> BreakGlass:
        """Close the review of what another did; needs a fresh second factor."""

    @listing("break_glass_list", "/break-glass")
    def list(self, *, unreviewed: bool | None = None) -> Iterator[BreakGlass]:
        """Acts of break-glass, the newest first."""
