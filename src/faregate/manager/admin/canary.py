"""A canary: a configuration that some calls meet before it is made, and the numbers that judge it."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field, StringConstraints

from faregate.manager.admin.context import READS, WRITES, House, Who, published, time_text
from faregate.manager.admin.revisions import Force
from faregate.manager.admin.schemas import NAME_PATTERN, Applied, Body, ConfigWrite, Reason
from faregate.manager.arms import Arm, seconds_of
from faregate.manager.cases.canary import CONSUMERS_MAX, FOR_S_MAX, PERCENT_MAX, Run, Wish
from faregate.manager.cases.judging import Test

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_WRITES: Final[dict[str, Any]] = {"x-faregate-need": "write"}

Consumer = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Base = Annotated[int | None, Query(ge=0, description="Refuse when it is not the newest revision.")]


class CanaryWrite(ConfigWrite):
    """What shall be, and whose calls meet it: a share of all, those of named consumers, or both."""

    percent: int = Field(default=0, ge=0, le=PERCENT_MAX, description="Of all calls.")
    consumers: list[Consumer] = Field(default_factory=list, max_length=CONSUMERS_MAX)
    for_s: float = Field(default=600.0, ge=1, le=FOR_S_MAX, description="How long at most, in seconds.")
    promote: bool = Field(
        default=False, description="Make it the revision at the end, when nothing speaks against it."
    )


class CanaryArm(Body):
    """What came of the calls of one revision since the canary began. Times in milliseconds, to 9 %; null
    without any call.
    """

    calls: int
    failures: int = Field(description="Answered by 5xx, or of unknown outcome.")
    failure_rate: float
    p50_ms: float | None
    p99_ms: float | None


class CanaryTest(Body):
    """A sequential test. The canary is stopped when `largest` reaches `bound`; that happens to at most one in
    a hundred that are no worse, with both tests together.
    """

    evidence: float = Field(description="Of its being worse, as it stands.")
    largest: float = Field(description="The largest it has been.")
    bound: float
    p_value: float = Field(description="Valid however often one looks.")
    old_calls: int
    old_hits: int
    new_calls: int
    new_hits: int


class CanaryRead(Body):
    """`revision`: its number; the revision's, once it is promoted. `stopped`: because it was worse.
    `slow_calls`: null while it is not known which calls are slow: the first 1,000 of the running revision
    tell.
    """

    revision: int
    base: int = Field(description="The revision that it is made of, and that the other calls meet.")
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


def _arm(arm: Arm) -> CanaryArm:
    timed = arm.timed
    return CanaryArm(
        calls=arm.calls,
        failures=arm.failures,
        failure_rate=round(arm.failures / arm.calls, 6) if arm.calls else 0.0,
        p50_ms=_ms(seconds_of(arm.bucket_at(0.5))) if timed else None,
        p99_ms=_ms(seconds_of(arm.bucket_at(0.99))) if timed else None,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _test(test: Test) -> CanaryTest:
    return CanaryTest(
        evidence=float(f"{test.evidence:.4g}"),
        largest=float(f"{test.largest:.4g}"),
        bound=test.bound,
        p_value=float(f"{test.p_value:.3g}"),
        old_calls=test.old[0],
        old_hits=test.old[1],
        new_calls=test.new[0],
        new_hits=test.new[1],
    )


def canary_read(run: Run) -> CanaryRead:
    judge, slow = run.judge, run.judge.slow_calls
    return CanaryRead(
        revision=run.number,
        base=run.base,
        state=run.state,
        reason=run.reason,
        author=run.actor.person,
        began=time_text(run.began_ms),
        ended=time_text(run.ended_ms) if run.ended_ms else None,
        percent=run.wish.percent,
        consumers=list(run.wish.consumers),
        for_s=run.wish.for_s,
        promote=run.wish.promote,
        old=_arm(judge.old),
        new=_arm(judge.new),
        slow_ms=_ms(judge.mark_s) or None,
        failures=_test(judge.failures),
        slow_calls=None if slow is None else _test(slow),
    )


def make_router() -> APIRouter:
    router = APIRouter(tags=["canary"])

    @router.get(
        "/canary", operation_id="canary_get", responses=READS, openapi_extra=_SEES,
        summary="The canary that runs, or what came of the last one",
    )  # fmt: skip
    async def canary_get(house: House, who: Who) -> CanaryRead:
        return canary_read(house.canary.status(who))

    @router.put(
        "/canary", operation_id="canary_start", responses=WRITES, openapi_extra=_WRITES,
        summary="Have some calls meet what applying it would make",
    )  # fmt: skip
    async def canary_start(
        house: House, who: Who, body: CanaryWrite, base: Base = None, *, force: Force = False
    ) -> CanaryRead:
        wish = Wish(body.percent, tuple(dict.fromkeys(body.consumers)), body.for_s, body.promote)
        sections = {str(section): entries for section, entries in body.sections.items()}
        run = await house.canary.start(
            who, sections, wish, team=body.team, reason=body.reason, base=base, force=force
        )
        return canary_read(run)

    @router.post(
        "/canary/promote", operation_id="canary_promote", responses=WRITES, openapi_extra=_WRITES,
        summary="Make it the revision that all calls meet",
    )  # fmt: skip
    async def canary_promote(house: House, who: Who, body: Reason, response: Response) -> Applied:
        revision = await house.canary.promote(who, reason=body.reason)
        number = None if revision is None else revision.number
        return Applied(revision=number, published=await published(house, number, response))

    @router.delete(
        "/canary", operation_id="canary_abandon", responses=WRITES, openapi_extra=_WRITES,
        summary="Have all calls meet the running revision again",
    )  # fmt: skip
    async def canary_abandon(house: House, who: Who) -> CanaryRead:
        return canary_read(await house.canary.abandon(who))

    return router
