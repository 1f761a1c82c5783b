"""Envoy doing the same work with its own filters: jwt_authn, rbac, local_ratelimit, file access log.

Twice: as its guides show it, verifying every token, and with jwt_cache_config, which remembers verified ones.
"""

from typing import ClassVar

from benchmarks.contenders.base import Contender


class Envoy(Contender):
    """Envoy with one worker thread and no token cache (its default)."""

    name = "envoy"
    title = "Envoy, same work"
    jwt_cache: ClassVar[str] = ""
    listens = (
        "",
        """          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                alpn_protocols: [h2, http/1.1]
                tls_certificates:
                  - certificate_chain: {filename: @CERTIFICATE@}
                    private_key: {filename: @CERTIFICATE@}
""",
    )

    def command(self) -> list[str]:
        work = self.ground.work
        self.log = work / f"{self.name}.log"
        self.log.write_bytes(b"")
        config = self.write_config(
            "envoy.yaml",
            f"{self.name}.yaml",
            LOG=self.log,
            JWT_CACHE=self.jwt_cache,
            CODEC="AUTO" if self.tls else "HTTP1",
        )
        options = "--concurrency 1 --disable-hot-restart --log-level error --file-flush-interval-msec 1000"
        return [self.ground.programs["envoy"], "-c", str(config), *options.split()]


class EnvoyCached(Envoy):
    """Envoy with its cache of verified tokens, large enough for all repeated ones."""

    name = "envoy_cached"
    title = "Envoy with its token cache"
    jwt_cache: ClassVar[str] = "                          jwt_cache_config: {jwt_cache_size: 10000}"
