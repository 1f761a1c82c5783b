"""Faregate: the API gateway and API manager for payment systems."""

from typing import Final

VERSION: Final = "0.1.0"
