"""The way in: ``faregate`` and ``python -m faregate``.

``--version`` is answered before anything is imported, in a few milliseconds. Everything else goes to
``cli.app``.
"""

import os
import sys


def main() -> None:
    """Runs the command line and exits with its status: 0 done, 1 failed, 2 wrong usage."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        from faregate import VERSION  # noqa: PLC0415

        print(f'{{"faregate": "{VERSION}"}}' if "--json" in arguments else f"faregate {VERSION}")  # noqa: T201
        return
    try:
        from faregate.cli.app import main as run  # noqa: PLC0415

        status = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read the output has gone (`faregate check | head`); keep Python from flushing to nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except KeyboardInterrupt:
        status = 130  # as shells count a SIGINT; a gateway that runs answers it itself
    sys.exit(status)


if __name__ == "__main__":
    main()
