#!/bin/sh
# Makes requirements/*.lock from pyproject.toml: exact versions with hashes, for every Python from 3.11 on.
#
# uv resolves, because pip cannot resolve for machines other than its own; it belongs to nobody's environment
# but that of whoever changes a dependency, so it is taken from PATH or UV. No index address is written.
# A version that is locked already stays unless it no longer fits; `scripts/lock.sh --upgrade` takes newer ones.

set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
command -v "$uv" >/dev/null || { echo "lock: uv is needed: pip install uv, or UV=/path/to/uv" >&2; exit 1; }

upgrade=${1---quiet} # or --upgrade; uv takes its options in any place

lock() { # NAME ARGUMENTS...: one lock file
    name=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --custom-compile-command scripts/lock.sh "$upgrade" "$@" -o "requirements/$name.lock"
}

lock run pyproject.toml --extra demo --group build
lock dev --group dev --constraints requirements/run.lock
lock bench --group bench --constraints requirements/run.lock --constraints requirements/dev.lock
