"""``python -m faregate.compile FILE --out SNAPSHOT --revision N [--json]``; see ``program``."""

import os
import sys

from faregate.compile.program import main

if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # everything is written; to take all declared forms apart first would only cost time
