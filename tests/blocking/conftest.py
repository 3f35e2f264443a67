"""A fixture for all tests here: none sees the threads and sockets of earlier ones."""

import gc

import pytest


@pytest.fixture(autouse=True)
def _collect() -> None:
    """Close what earlier tests have left in reference cycles, such as file systems."""
    gc.collect()
