"""nginx forwarding bare: the floor. Also the upstream behind everybody."""

from typing import TYPE_CHECKING

from benchmarks.calls import get_call
from benchmarks.contenders.base import CONFIGS, Contender, Ground, fill
from benchmarks.processes import Program

if TYPE_CHECKING:
    from pathlib import Path


class NginxBare(Contender):
    """nginx with a plain proxy_pass: no authentication, no limits, no log."""

    name = "nginx"
    title = "nginx, bare forwarding"
    listens = ("", "ssl http2")

    def command(self) -> list[str]:
        pem = self.ground.certificate
        server = f"ssl_certificate {pem}; ssl_certificate_key {pem};" if self.tls else ""
        config = self.write_config("nginx.conf", f"{self.name}.conf", SERVER=server)
        return [self.ground.programs["nginx"], "-p", str(self.ground.work), "-c", str(config)]


def start_upstream(ground: Ground) -> Program:
    """Starts the two targets in one nginx on the load's core. Raises StartError."""
    first, second = ground.targets
    values: dict[str, str | int | Path] = {"WORK": ground.work, "TARGET_1": first, "TARGET_2": second}
    (ground.work / "large.json").write_text('{"data":"' + "x" * ((64 << 10) - 11) + '"}')
    config = ground.work / "upstream.conf"
    config.write_text(fill((CONFIGS / "upstream.conf").read_text(), values))
    output = ground.work / "upstream.out"
    output.write_bytes(b"")
    command = [ground.programs["nginx"], "-p", str(ground.work), "-c", str(config)]
    upstream = Program(command, output, ground.load_core)
    try:
        for port in ground.targets:
            upstream.wait_until_answering(port, get_call("/v2/payments/1", "X-Start: 1"), timeout_s=30)
    except BaseException:
        upstream.stop()
        raise
    return upstream
