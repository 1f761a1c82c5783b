import os

import pytest

from tests.stores import table


@pytest.fixture
def memory(tmp_path):
    made = table.make(tmp_path)
    yield made
    os.close(made)


@pytest.fixture
def counters(memory):
    joined = table.join(memory)
    yield joined
    joined.close()
