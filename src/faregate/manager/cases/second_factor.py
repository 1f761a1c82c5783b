"""What needs a second factor at the moment of the act: decisions, tokens, roles, break-glass, master keys.

The machine's token is exempt: whoever may read the data folder owns the gateway on it without asking.
"""

from typing import Final

from faregate.manager.cases.domain import Actor
from faregate.manager.cases.errors import Forbidden, SecondFactorNeeded

FRESH_MS: Final = 5 * 60_000


def demand_fresh(actor: Actor, now_ms: int) -> None:
    """Raises SecondFactorNeeded, and Forbidden for a token, which has none."""
    if actor.machine:
        return
    if not actor.credential.startswith("session:"):
        raise Forbidden("This needs a second factor, which a token has not: sign in.")
    if now_ms - actor.second_factor_ms > FRESH_MS:
        raise SecondFactorNeeded(
            "Show your second factor again: POST /session/second-factor, or where the provider's counts "
            "GET /sign-in/oidc?fresh=true. Who has none yet sets it up at POST /session/totp."
        )
