"""Fixtures for all tests."""

import logging
import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from shutil import rmtree

import pytest

from shoal.reading import share_cache
from tests.helpers.netns import Namespace, missing_namespaces
from tests.helpers.peers import Peers
from tests.helpers.programs import missing_node, sharer_home
from tests.helpers.requirements import require
from tests.helpers.sharing import Share, sharing

MakeFile = Callable[[int, int], Path]
"""Make a file with this size and seed of its random bytes."""


@pytest.fixture(autouse=True, scope="session")
def _sigint_ends_programs() -> None:
    """Let SIGINT end programs even if a shell started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _short_stacks() -> Iterator[None]:
    """Let event loops in debug mode store less of the stack at each callback.

    Storing ten frames, as they do otherwise, takes a sixth of the time of the tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncio.constants.DEBUG_STACK_DEPTH", 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def _private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the secret and the configuration file of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp("home")))
        # Commands use asyncio's own loop, except in the tests of uvloop.
        patch.setenv("SHOAL_UVLOOP", "0")
        yield


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the user a home of this test's own; return shoal's folder there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home/shoal"


@pytest.fixture(autouse=True)
def _empty_catalogue(_private_home: None) -> Iterator[None]:
    """Start each test without what other tests have shared and fetched."""
    yield
    for home in (Path(os.environ["XDG_DATA_HOME"]), sharer_home()):
        rmtree(home / "shoal/catalogue", ignore_errors=True)


@pytest.fixture(autouse=True)
def _nodes_read_from_peers(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let nodes read from each other, although those of one process have one home.

    Tests with the mark `reads_local_copies` read what is on the disk, as users do.
    """
    if request.node.get_closest_marker("reads_local_copies") is None:
        monkeypatch.setattr(share_cache, "open_copy", lambda registry, share_id: None)


@pytest.fixture(autouse=True)
def _fail_for_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test whose event loop logged an error."""
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
    """Yield a network namespace in which only `lo` is up."""
    require(_missing_namespaces())
    with Namespace() as made:
        yield made


_missing_namespaces = cache(missing_namespaces)


@pytest.fixture
def peers(namespace: Namespace) -> Iterator[Peers]:
    """Yield an object that starts peers, also Node's, in a namespace."""
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
    """Return a function that makes files with the same bytes in every run."""

    def make(size: int, seed: int) -> Path:
        path = tmp_path / f"source-{size}-{seed}"
        path.write_bytes(random.Random(seed).randbytes(size))
        return path

    return make
