"""The tests; a package so that ``tests.support`` has one name for pytest, mypy and child processes."""
