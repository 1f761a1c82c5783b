"""``python -m faregate.compile FILE --out SNAPSHOT --revision N [--json]``; see ``program``."""

import sys

from faregate.compile.program import main

if __name__ == "__main__":
    sys.exit(main())
