"""Every seed and everything that fuzzing ever found, as plain tests."""

import pytest

from tests.fuzz.seeds import CORPUS, TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_corpus_hold(name: str) -> None:
    target = TARGETS[name]
    for data in seeds(name):
        try:
            target(data)
        except BaseException as error:
            error.add_note(f"on {data!r}")
            raise


def test_every_folder_of_the_corpus_has_its_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= set(TARGETS)
