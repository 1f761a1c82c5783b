"""The declared form of address rules: the ranges a consumer may call from."""

from typing import TypeAlias

from faregate.model.addresses import Network

AllowIps: TypeAlias = list[Network]
"""Empty: any address will do."""
