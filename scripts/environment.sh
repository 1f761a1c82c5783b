#!/bin/sh
# The way into scripts/environment.py, which makes the virtual environment of this checkout.
#
# It only looks for a Python of at least 3.11 to run that with: the environment's own when there is one, so
# that a finished environment costs one short start; otherwise whatever the machine has. Which Python the
# environment is built on is decided over there.
#
# Usage: scripts/environment.sh run|dev|bench
# Environment: PYTHON (build on this one), VENV (where it lies; .venv), LOCKED=no (do not use the lock files)

cd "$(dirname "$0")/.." || exit 1
for candidate in "${VENV:-.venv}/bin/python" "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3 \
    /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 /usr/bin/python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$candidate" -E -s scripts/environment.py "$@"
    fi
done
echo "environment: Python 3.11 or later is needed; on Debian: apt-get install python3 python3-venv" >&2
exit 1
