"""Operations on canary, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, Literal, NotRequired, TypedDict

from faregate.client.asking import Asking
from faregate.client.operations.forms import Applied, Reason


class CanaryArm(TypedDict):
    """What came of the calls of one revision since the canary began. Times in milliseconds, to 9 %;
    null without any call.
    """

    calls: int
    failures: int
    """Answered by 5xx, or of unknown outcome."""
    failure_rate: float
    p50_ms: float | None
    p99_ms: float | None


class CanaryTest(TypedDict):
    """A sequential test. The canary is stopped when `largest` reaches `bound`; that happens to at most
    one in a hundred that are no worse, with both tests together.
    """

    evidence: float
    """Of its being worse, as it stands."""
    largest: float
    """The largest it has been."""
    bound: float
    p_value: float
    """Valid however often one looks."""
    old_calls: int
    old_hits: int
    new_calls: int
    new_hits: int


class CanaryRead(TypedDict):
    """`revision`: its number; the revision's, once it is promoted. `stopped`: because it was worse.
    `slow_calls`: null while it is not known which calls are slow: the first 1,000 of the running
    revision tell.
    """

    revision: int
    base: int
    """The revision that it is made of, and that the other calls meet."""
    state: Literal["running", "promoted", "stopped", "abandoned"]
    reason: str
    author: str
    began: str
    ended: str | None
    percent: int
    consumers: list[str]
    for_s: float
    promote: bool
    old: CanaryArm
    new: CanaryArm
    slow_ms: float | None
    failures: CanaryTest
    slow_calls: CanaryTest | None


class CanaryWrite(TypedDict):
    """What shall be, and whose calls meet it: a share of all, those of named consumers, or both."""

    sections: dict[str, dict[str, dict[str, Any]]]
    team: NotRequired[str]
    reason: NotRequired[str]
    percent: NotRequired[int]
    """Of all calls."""
    consumers: NotRequired[list[str]]
    for_s: NotRequired[float]
    """How long at most, in seconds."""
    promote: NotRequired[bool]
    """Make it the revision at the end, when nothing speaks against it."""


class CanaryOperations(Asking):
    """Operations on canary."""

    def canary_get(self) -> CanaryRead:
        """The canary that runs, or what came of the last one: `GET /canary`."""
        answer: CanaryRead = self._ask("canary_get")
        return answer

    def canary_start(
        self, body: CanaryWrite, *, base: int | None = None, force: bool | None = None
    ) -> CanaryRead:
        """Have some calls meet what applying it would make: `PUT /canary`."""
        answer: CanaryRead = self._ask("canary_start", query={"base": base, "force": force}, body=body)
        return answer

    def canary_abandon(self) -> CanaryRead:
        """Have all calls meet the running revision again: `DELETE /canary`."""
        answer: CanaryRead = self._ask("canary_abandon")
        return answer

    def canary_promote(self, body: Reason) -> Applied:
        """Make it the revision that all calls meet: `POST /canary/promote`."""
        answer: Applied = self._ask("canary_promote", body=body)
        return answer
