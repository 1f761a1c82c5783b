"""The soak: seeded faults under steady keyed load, then every invariant (http-rules.md sections 10 and 11, row X11)."""
