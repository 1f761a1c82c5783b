"""The program of a worker: ``python -m faregate.gateway.worker SETTINGS``.

Nothing of the data plane may be imported before it is settled in which form it runs, compiled or as it is
written; so this is all that stands here.
"""

import gc
from importlib import import_module

from faregate import compiled


def main() -> None:
    """The process's entry."""
    gc.disable()  # a fifth of a start; ``WorkerProcess.run`` turns it on once everything is built
    compiled.install()
    import_module("faregate.gateway.worker_process").main()


if __name__ == "__main__":
    main()
