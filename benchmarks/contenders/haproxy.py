"""HAProxy 2.6 doing the same work with its own means: jwt_verify, maps, stick tables, log-format.

Its log goes to standard output, a file here: one write a line and no second process, the cheapest sink it
has.
"""

from typing import TYPE_CHECKING

from benchmarks import tokens
from benchmarks.contenders.base import Contender

if TYPE_CHECKING:
    from collections.abc import Mapping


class HAProxy(Contender):
    """HAProxy with nbthread 1. It verifies every token's signature: 2.6 remembers none."""

    name = "haproxy"
    title = "HAProxy, same work"
    listens = ("", "ssl crt @CERTIFICATE@ alpn h2,http/1.1")

    def command(self) -> list[str]:
        work = self.ground.work
        plans = dict.fromkeys(tokens.CONSUMERS, "standard") | {tokens.SMALL_CONSUMER: "small"}
        maps: dict[str, Mapping[str, str | int]] = {
            "plans": plans,
            "seconds": {"standard": self.limit_second, "small": self.limit_second},
            "minutes": {"standard": self.limit_minute, "small": tokens.SMALL_LIMIT},
        }
        for name, pairs in maps.items():
            lines = "".join(f"{key} {value}\n" for key, value in pairs.items())
            (work / f"haproxy-{name}.map").write_text(lines)
        config = self.write_config("haproxy.cfg", "haproxy.cfg")
        self.log = work / f"{self.name}.out"
        return [self.ground.programs["haproxy"], "-db", "-f", str(config)]
