"""Routes whose version is settled call by call: by a header, by a consumer's pin, or by a share of the calls.

Made once per snapshot beside the others. The router finds a place by its path as always; only where no plain
route stands there does a call come here, so that all others pay nothing. What can be decided from the head is
decided before authentication; what depends on who calls, behind it, on a route of its own (``undecided``,
``front``) that authenticates and does no more. The rules are ``policies.versions``'.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from faregate.gateway.router import Router
from faregate.policies.transform.step import Carried
from faregate.policies.validate.step import Checks
from faregate.policies.versions.step import Chooser, Lifetime, lifecycle_headers
from faregate.snapshot.call import ReadyRoute, Step
from faregate.snapshot.data import Route, Version

AuthenticateOf: TypeAlias = Callable[[Route], Step | None]
KeepingFor: TypeAlias = Callable[[Route, Version, Route, Version], object]
"""What keeps calls from running twice that ask for the second version's route and run the first's."""

_AT_ONCE: Final = 16


class VersionTable:
    """One API's versions, each with a router of its own."""

    __slots__ = ("chooser", "routers")

    def __init__(self, versions: Iterable[Version]) -> None:
        self.chooser = Chooser(versions)
        self.routers: dict[str, Router[ReadyRoute]] = {name: Router(()) for name in self.chooser.names}


class ReadyChoice:
    """One method at one place of an API whose versions are chosen by header.

    ``undecided``: what a call runs until its consumer is known, None where that does not matter; ``unknown``:
    what it runs when it names no version. ``passed``: the steps that the first of them runs already.
    """

    __slots__ = ("passed", "table", "undecided", "unknown")

    def __init__(self, table: VersionTable, unknown: ReadyRoute, passed: tuple[Step, ...]) -> None:
        self.table = table
        self.passed = passed
        self.unknown = unknown
        self.undecided: ReadyRoute | None = None


class ReadySplit:
    """A route of a version that shares its calls. ``others``: by the index of the version; ``prefix``: of the
    targets that may go there; ``passed``: as in ``ReadyChoice``.
    """

    __slots__ = ("others", "own", "passed", "prefix")

    def __init__(self, own: ReadyRoute, others: dict[int, ReadyRoute], passed: tuple[Step, ...]) -> None:
        self.own = own
        self.others = others
        self.passed = passed
        self.prefix = own.version.path.encode()


class Fronts:
    """Puts routes into the router, those of versions that are settled call by call behind what settles them.

    ``made``: routes made on the way that lead to an upstream; ``nodes``: of the routers made.
    """

    def __init__(
        self, versions: Sequence[Version], authenticate: AuthenticateOf, keeping_for: KeepingFor
    ) -> None:
        self._versions = versions
        self._authenticate = authenticate
        self._keeping_for = keeping_for
        self.made: list[ReadyRoute] = []
        self.nodes: list[list[object]] = []

    def publish(self, router: Router[ReadyRoute], routes: list[ReadyRoute]) -> Generator[None, None, None]:
        """Takes every route of the snapshot whose version has a ``choice`` or ``splits``; yields wherever
        calls may come between.
        """
        versions = self._versions
        special = [version.choice is not None or bool(version.splits) for version in versions]
        if True not in special:
            return
        wanted = {split.version for version in versions for split in version.splits}
        twins = {
            (ready.data.version, ready.data.label): ready for ready in routes if ready.data.version in wanted
        }
        by_api: dict[str, list[ReadyRoute]] = {}
        for number, ready in enumerate([one for one in routes if special[one.data.version]]):
            version = ready.version
            if version.splits:
                ready = self._front(ready, twins)  # noqa: PLW2901 - what stands before it
            if version.choice is not None:
                by_api.setdefault(version.choice.api, []).append(ready)
            else:
                router.add(ready.data.method, ready.data.template, ready)
            if not number % _AT_ONCE:
                yield
        for api, fronts in by_api.items():
            of_api = [one for one in versions if one.choice is not None and one.choice.api == api]
            table = VersionTable(of_api)
            self.nodes += [one.nodes for one in table.routers.values()]
            body_bytes = max(ready.body_bytes for ready in fronts)
            priority = max(ready.priority for ready in fronts)
            logs = max(ready.data.log_request_body for ready in fronts)
            for number, ready in enumerate(fronts):
                data = ready.data
                table.routers[ready.version.name].add(data.method, data.template, ready)
                common = msgspec.structs.replace(
                    data, body_bytes=body_bytes, priority=priority, log_request_body=logs, upgrade=None
                )
                router.add_choice(data.method, data.template, self._choice(table, common))
                if not number % _AT_ONCE:
                    yield

    def _choice(self, table: VersionTable, data: Route) -> ReadyChoice:
        authenticate = self._authenticate(data)
        passed = () if authenticate is None else (authenticate,)
        unknown = _nameless(data, (*passed, table.chooser.unknown))
        choice = ReadyChoice(table, unknown, passed)
        if table.chooser.asks_consumer:
            choice.undecided = _nameless(data, passed)
            choice.undecided.holds = True
            choice.undecided.deciding = choice
        return choice

    def _front(self, own: ReadyRoute, twins: dict[tuple[int, str], ReadyRoute]) -> ReadyRoute:
        """What stands before a route that shares its calls; the route itself where no other version has
        it.
        """
        others = {}
        for split in own.version.splits:
            twin = twins.get((split.version, own.data.label))
            if twin is not None:
                others[split.version] = self._via(own, twin)
        if not others:
            return own
        both = [own, *others.values()]
        data = msgspec.structs.replace(
            own.data,
            body_bytes=max(one.body_bytes for one in both),
            log_request_body=max(one.data.log_request_body for one in both),
        )
        front = ReadyRoute(data, own.version, None)
        front.steps = self._first_steps(own)
        front.holds = True
        front.deciding = ReadySplit(own, others, front.steps)
        front.answer_headers, front.log_fields = own.answer_headers, own.log_fields
        return front

    def _first_steps(self, own: ReadyRoute) -> tuple[Step, ...]:
        """Those of ``own`` up to authentication; they come before any other."""
        authenticate = self._authenticate(own.data)
        if authenticate is not None and authenticate in own.steps:
            return own.steps[: own.steps.index(authenticate) + 1]
        return tuple(step for step in own.steps[:1] if isinstance(step, Lifetime))

    def _via(self, own: ReadyRoute, twin: ReadyRoute) -> ReadyRoute:
        """What runs a call for ``own``'s version on ``twin``'s route."""
        asked, runs = own.version, twin.version
        ready = ReadyRoute(twin.data, runs, None)
        ready.steps = twin.steps
        checks = twin.checks
        ready.checks = checks.moved(_depth(asked) - _depth(runs)) if isinstance(checks, Checks) else checks
        ready.keeping = self._keeping_for(twin.data, runs, own.data, asked)
        carried = twin.changes if isinstance(twin.changes, Carried) else Carried(twin.data)
        ready.changes = carried.moved(asked.path.encode(), runs.path.encode())
        ready.holds = True
        ready.upstream_headers = twin.upstream_headers
        ready.answer_headers = named_headers(runs) + lifecycle_headers(asked)
        said = msgspec.json.encode(asked.name).decode()
        before, _, route = twin.log_fields.partition(',"route":')
        ready.log_fields = f'{before},"version_asked":{said},"route":{route}'
        self.made.append(ready)
        return ready


def _depth(version: Version) -> int:
    """How many segments its path has."""
    return len(version.path.strip("/").split("/")) if version.path.strip("/") else 0


def _nameless(data: Route, steps: tuple[Step, ...]) -> ReadyRoute:
    """A route of no version yet."""
    ready = ReadyRoute(data, Version("", ""), None)
    ready.steps = steps
    api, label = (msgspec.json.encode(text).decode() for text in (data.api, data.label))
    ready.log_fields = f'"api":{api},"route":{label}'
    return ready


def named_headers(version: Version) -> bytes:
    """Where versions are chosen by header: the one that was used, and that the header tells answers apart."""
    choice = version.choice
    if choice is None:
        return b""
    header = choice.header.encode("ascii")
    return b"%b: %b\r\nVary: %b\r\n" % (header, version.name.encode("ascii"), header)
