"""From the declared configuration to the snapshot that workers run."""

from faregate.compile.compiler import compile_config

__all__ = ["compile_config"]
