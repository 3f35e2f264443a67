"""Fixtures that tests of every folder use."""

import logging
import random
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.peers import Peers
from tests.helpers.programs import missing_node
from tests.helpers.requirements import require
from tests.helpers.sharing import Share, sharing

MakeFile = Callable[[int, int], Path]
"""Make a file of `size` bytes that are random in a way `seed` decides."""


@pytest.fixture(autouse=True, scope="session")
def _heeded_signals() -> None:
    """Have programs end by Ctrl-C, whoever started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what whoever runs the tests has, secret and options too, out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        # Everybody has asyncio's own loop; tests of the other one ask for it.
        patch.setenv("SHOAL_UVLOOP", "0")
        yield


@pytest.fixture(autouse=True)
def _no_error_that_nobody_sees(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test whose event loop ran into an error that only the log tells."""
    yield
    records = [each for when in ("setup", "call") for each in caplog.get_records(when)]
    said = [
        each.getMessage()
        for each in records
        if each.name == "asyncio" and each.levelno >= logging.ERROR
    ]
    assert not said, said


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """Give a network namespace of the test's own, with only `lo` up."""
    require(_missing_namespaces())
    with Namespace() as made:
        yield made


_missing_namespaces = cache(missing_namespaces)


@pytest.fixture
def peers(namespace: Namespace) -> Iterator[Peers]:
    """Give a way to start peers, Node's too, in a namespace; they end with it."""
    require(missing_node())
    with Peers(namespace) as started:
        yield started


@pytest.fixture
def share() -> Iterator[Share]:
    """Return a function that shares paths until the test ends."""
    with sharing() as made:
        yield made


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Give a function that makes files whose bytes are the same in every run."""

    def make(size: int, seed: int) -> Path:
        path = tmp_path / f"source-{size}-{seed}"
        path.write_bytes(random.Random(seed).randbytes(size))
        return path

    return make
