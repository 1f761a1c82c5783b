"""A listener's files taken into use by a reload and by themselves at once: what was read last is what holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.gateway.tls.front import Fronts
from faregate.snapshot.data import Listener, ListenerTls, ServerCertificate
from tests.gateway.fakes import World
from tests.support.certificates import Authority


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        yield made


class Place:
    """A listener whose certificate is renewed at will, and what a worker has for it."""

    def __init__(self, folder: Path, world: World) -> None:
        self._folder = folder
        self._world = world
        self._renewals = 0
        self.renew()
        self.fronts = Fronts(world.plane, says=False)
        self.fronts.open([self.listener()], says=False)

    def listener(self, host: str = "127.0.0.1") -> Listener:
        """Equal to the one before, and another object, as it comes out of each snapshot."""
        files = ServerCertificate(f"{self._folder}/a.pem", f"{self._folder}/a.key")
        return Listener(host, 1, ListenerTls((files,)))

    def renew(self) -> None:
        self._renewals += 1
        issued = Authority().issue(f"CN=number {self._renewals}", dns=("a.test",))
        issued.write(self._folder, "a")

    def notice(self) -> object:
        """What the regular look at the files does; the profile that came of it."""
        front = self.fronts[self.listener()]
        self._world.loop.run_until_complete(self.fronts._renew(front))
        return front.profile


@pytest.mark.parametrize("read_by_the_reload", [False, True])
def test_a_reload_does_not_bring_back_what_a_renewal_has_overtaken(
    tmp_path: Path, world: World, read_by_the_reload: bool
) -> None:
    place = Place(tmp_path, world)
    if read_by_the_reload:
        place.renew()
    listener = place.listener()
    prepared = place.fronts.prepare([listener])
    place.renew()
    newest = place.notice()
    place.fronts.adopt([listener], prepared)
    assert place.fronts[listener].profile is newest


def test_of_two_reloads_the_later_holds_also_where_the_earlier_one_ends_last(
    tmp_path: Path, world: World
) -> None:
    place = Place(tmp_path, world)
    one, two = place.listener(), place.listener()
    place.renew()
    slow = place.fronts.prepare([one])
    place.renew()
    place.fronts.adopt([two], place.fronts.prepare([two]))
    newest = place.fronts[two].profile
    place.fronts.adopt([one], slow)
    assert place.fronts[one].profile is newest


def test_a_reload_that_is_refused_leaves_nothing_of_its_listeners(tmp_path: Path, world: World) -> None:
    """It prepares in a thread, while the worker goes through its listeners."""
    place = Place(tmp_path, world)
    place.fronts.prepare([place.listener(), place.listener("127.0.0.2")])
    assert list(place.fronts._fronts) == ["127.0.0.1:1"]
