"""The gateway as its callers and upstreams see it: real processes over real sockets."""
