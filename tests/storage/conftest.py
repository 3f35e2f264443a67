"""Fixtures for the tests of stores: a disk in memory and a folder."""

from collections.abc import Iterator

import pytest

from shoal.storage.download import layout
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import FILES, ROOT, Case


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(ROOT)


@pytest.fixture
def case() -> Case:
    return Case(FILES, 100)


@pytest.fixture(scope="module")
def _large_files_are_small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "LARGE", 1_000)
        yield
