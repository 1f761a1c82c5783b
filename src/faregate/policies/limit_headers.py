"""The header lines by which a caller sees its limits (SPEC section 3; draft-ietf-httpapi-ratelimit-headers).

What is the same for all callers of a set of limits is rendered once, so that a call costs one formatting.
``q`` and ``w`` of a bucket are its depth and the seconds that fill it; ``t`` and ``X-RateLimit-Reset`` are
the seconds until the whole limit is free again if no call follows, or, on a refusal, the same number as
``Retry-After``.
"""

from faregate.policies.quota.step import Calendar
from faregate.snapshot import data


class Shown:
    """How one limit is shown. ``calendar``: the quota's, else None.

    ``inverse`` is one call's share of the limit: limits are compared by the share that is left of them.
    """

    __slots__ = ("_quota", "calendar", "inverse", "lines", "rate", "seconds")

    def __init__(self, rate: data.Rate, calendar: Calendar | None) -> None:
        self.rate = rate
        self.calendar = calendar
        self._quota = rate.burst or rate.count
        self.inverse = 1 / self._quota
        self.seconds = -(-rate.period_ms * self._quota // (rate.count * 1000))
        name = rate.name.encode("ascii").replace(b"%", b"%%")
        self.lines = (
            b'RateLimit: "%b";r=%%d;t=%%d\r\n'
            b"X-RateLimit-Limit: %d\r\nX-RateLimit-Remaining: %%d\r\nX-RateLimit-Reset: %%d\r\n"
        ) % (name, self._quota)

    def policy(self) -> bytes:
        """This limit's member of ``RateLimit-Policy``; of a calendar, the period that it is now."""
        seconds = self.seconds if self.calendar is None else self.calendar.end - self.calendar.start
        return b'"%b";q=%d;w=%d' % (self.rate.name.encode("ascii"), self._quota, seconds)


class ShownSet:
    """All rates and quotas that apply to a call, in the order in which they are counted."""

    __slots__ = ("_calendars", "_starts", "_templates", "limits")

    def __init__(self, limits: tuple[Shown, ...]) -> None:
        self.limits = limits
        self._calendars = tuple(shown.calendar for shown in limits if shown.calendar is not None)
        self._starts: tuple[int, ...] | None = None
        self._templates: tuple[bytes, ...] = ()

    def render(self, index: int, remaining: int, reset: int) -> bytes:
        """``RateLimit-Policy`` of all; ``RateLimit`` and ``X-RateLimit-*`` of the one at ``index``.

        ``reset`` in seconds. After the limits have been checked, since that is what turns a calendar.
        """
        if self._starts is None or self._calendars:
            self._refresh()
        return self._templates[index] % (remaining, reset, remaining, reset)

    def _refresh(self) -> None:
        """A month's length is part of its policy, so the text is made anew when a calendar has turned."""
        starts = tuple([calendar.start for calendar in self._calendars])
        if starts != self._starts:
            self._starts = starts
            policies = b"RateLimit-Policy: %b\r\n" % b", ".join([shown.policy() for shown in self.limits])
            policies = policies.replace(b"%", b"%%")
            self._templates = tuple(policies + shown.lines for shown in self.limits)
