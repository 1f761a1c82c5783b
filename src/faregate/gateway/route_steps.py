"""The steps of each route, in the one written order, and what of them one revision takes from another.

Where only consumers, their credentials or plans' limits have changed, the steps stay and look them up
elsewhere from one moment to the next: 10,000 routes need not be made anew for a key that was revoked.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from faregate.gateway.upgrading import Tunnels, Upgrading, handshake_step, place_step, room_step
from faregate.policies import limits
from faregate.policies.address import step as address
from faregate.policies.authenticate.index import CredentialIndex, Part
from faregate.policies.authenticate.step import Authenticators
from faregate.policies.permit import step as permit
from faregate.policies.versions.step import draft_step, lifecycle
from faregate.snapshot.call import ReadyRoute, Step
from faregate.snapshot.data import Route, Snapshot, Upgrade, Version

if TYPE_CHECKING:
    from faregate.stores.counters import Counters
    from faregate.stores.keysets import KeySets


class StepBuilder:
    """Makes a route's steps, in the one written order, from parts prepared once per snapshot.

    ``before``: one whose parts do for this snapshot too; what differs is swapped in when it is put to work
    (``swap``).
    """

    def __init__(
        self,
        snapshot: Snapshot,
        index: CredentialIndex,
        counters: "Counters",
        keysets: "KeySets",
        before: "StepBuilder | None" = None,
    ) -> None:
        self._counters = counters
        self._bounded = index.bounded
        if before is None:
            self._authenticators = Authenticators(snapshot, index.other_consumers(), keysets, index)
            self._address = address.build(index.fenced)
            self._plans = {plan.name: plan for plan in snapshot.plans}
            self._generation = limits.generation(snapshot.plans)
            self._shared: dict[object, Step | None] = {}
            self._tuples: dict[tuple[Step, ...], tuple[Step, ...]] = {}
            return
        self._authenticators = before._authenticators  # noqa: SLF001 - of this class
        self._address = before._address  # noqa: SLF001 - likewise
        self._plans = before._plans  # noqa: SLF001 - likewise
        self._generation = before._generation  # noqa: SLF001 - likewise
        self._shared = {key: step for key, step in before._shared.items() if _outlives(key)}  # noqa: SLF001
        self._tuples = {}

    def swap(self, snapshot: Snapshot, index: CredentialIndex, gone: Iterable[Part]) -> Callable[[], None]:
        """What makes these steps those of ``snapshot``, in one go and without failing. ``gone``: consumers
        that are others now. Raises ``ValueError`` when the credentials cannot be put to work.
        """
        take = self._authenticators.swap(snapshot, index, gone)
        plans = {plan.name: plan for plan in snapshot.plans}
        generation = limits.generation(snapshot.plans)

        def swap() -> None:
            index.patch()
            take()
            if generation == self._generation:
                return
            self._plans.clear()
            self._plans.update(plans)
            self._generation = generation
            for step in self._shared.values():
                if isinstance(step, limits.LimitStep):
                    step.forget_plans(generation)

        return swap

    def __call__(self, route: Route, version: Version) -> tuple[Step, ...]:
        """Whether the version answers at all first: nobody's identity changes that. Identity before the draft
        check and the address list, which judge the consumer; permission before counting, so that a call that
        may not pass takes nothing.
        """
        life = self._once(("lifecycle", id(version)), lambda: lifecycle(version))
        if version.state == "retired" and life is not None:
            return (life,)
        identified = bool(route.authenticate)
        steps: tuple[Step | None, ...] = (
            life,
            self.authenticate(route),
            self._once(("draft", id(version)), lambda: draft_step(version)),
            self._address if identified else None,
            self._once(
                ("permit", route.require, self._bounded and (route.api, version.name)),
                lambda: permit.build(route, version.name, bounded=self._bounded),
            ),
            self._once(
                ("limits", route.limits, identified),
                lambda: limits.build(route, self._plans, self._counters, self._generation),
            ),
        )
        made = tuple(step for step in steps if step is not None)
        return self._tuples.setdefault(made, made)  # 10,000 routes have a handful

    def authenticate(self, route: Route) -> Step | None:
        """The step that identifies the callers of a route; the same object for all that do it alike."""
        return self._once(("authenticate", route.authenticate), lambda: self._authenticators.step_for(route))

    def take_upgrades(self, ready: ReadyRoute, settings: Upgrade, tunnels: Tunnels) -> None:
        """Adds to the steps of ``ready`` what a WebSocket needs: its checks after permission, the place
        behind everything that may still refuse the call.
        """
        limit = self._shared.get(("limits", ready.data.limits, bool(ready.data.authenticate)))
        counting = tuple(step for step in ready.steps if step is limit)
        standing = (*(step for step in ready.steps if step is not limit), handshake_step(settings))
        ready.steps = (*standing, room_step(settings, tunnels), *counting, place_step(settings, tunnels))
        ready.upgrade = Upgrading(settings, standing, self._authenticators.ends)

    def _once(self, key: object, make: "Callable[[], Step | None]") -> Step | None:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _outlives(key: object) -> bool:
    """Whether a shared step does for another snapshot: not what was made for one version's record."""
    return not (isinstance(key, tuple) and key[0] in {"lifecycle", "draft"})
