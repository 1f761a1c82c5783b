import pytest

from tests.stores import table


@pytest.fixture
def path(tmp_path):
    return table.make(tmp_path)


@pytest.fixture
def counters(path):
    joined = table.join(path)
    yield joined
    joined.close()
