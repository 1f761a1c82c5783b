"""A call held against its API's OpenAPI document: after the limits, before its record is claimed.

Between ``Claiming``, which keeps it from running twice, and ``Exchange``, which decides. The body is
collected as for a claim, and whoever collected it, it is looked at once and whole. What is wrong with which
value is the policy's affair (``policies.validate``); answers are looked at in ``Settling``, which holds them.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.claiming import Claiming
from faregate.gateway.keeping import Keeping
from faregate.policies.validate.step import Checks, Misfit

if TYPE_CHECKING:
    from faregate.snapshot.call import ReadyRoute

CHECKED_BYTES_MAX: Final = 1 << 20
"""Of the body of an answer that is looked at."""


class Checking(Claiming):
    """What validation adds before a call is sent. ``_checked_alone``: no claim follows the body."""

    _checked_alone: bool = False

    def _holds(self, route: "ReadyRoute") -> bool:
        """Whether the call waits for its body or the ledger, or was refused."""
        checks = route.checks
        if isinstance(checks, Checks):
            if checks.response != "off":
                self._answer_checks = checks
                self._held_max = CHECKED_BYTES_MAX
                self._watched = True
            if not self._head_fits(checks):
                return True
        keeping = route.keeping
        if isinstance(keeping, Keeping) and self._holds_back(route, keeping):
            return True
        if not isinstance(checks, Checks) or not checks.reads_body:
            return False
        body = self.body
        if body is not None and body.left:
            self._checked_alone = True
            self._collect(body)
            return True
        return not self._body_fits(checks)

    def _head_fits(self, checks: Checks) -> bool:
        if checks.reads_head:
            try:
                checks.head(self.call.path, self.target, self.fields.raw)
            except Misfit as misfit:
                self.refuse(misfit.refusal())
                return False
        return True

    def _body_fits(self, checks: Checks) -> bool:
        body = self.body
        fields = self.fields
        try:
            checks.body(b"" if body is None else body.content(), fields.content_type, fields.raw)
        except Misfit as misfit:
            self.refuse(misfit.refusal())
            return False
        return True

    def _collected(self) -> None:
        if not self._checked_alone:
            super()._collected()
            return
        route = self.call.route
        assert route is not None
        checks = route.checks
        assert isinstance(checks, Checks)
        if self._body_fits(checks):
            self._send_on(route)

    def _ask(self, route: "ReadyRoute", keeping: Keeping) -> None:
        checks = route.checks
        if isinstance(checks, Checks) and checks.reads_body and not self._body_fits(checks):
            return
        super()._ask(route, keeping)
