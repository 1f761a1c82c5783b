"""Servers of other makers, as they lie on the machine, for tests of what talks to them."""
