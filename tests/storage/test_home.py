"""Every process of a user gets the same secret, or none."""

import os
import random
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from errno import EACCES, EIO
from pathlib import Path

import pytest

from shoal.errors import ShoalError
from shoal.storage.disk.disk import Disk
from shoal.storage.home import SECRET_SIZE, user_secret
from tests.helpers.faulty.disk import FaultyDisk


def test_the_secret_is_created_once_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "config" / "shoal" / "secret"
    secret = user_secret(Disk(), path)
    assert secret is not None
    assert len(secret) == SECRET_SIZE
    assert user_secret(Disk(), path) == secret == path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["secret"]
    path.chmod(0o644)
    assert user_secret(Disk(), path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert user_secret(Disk(), tmp_path / "other") != secret


def test_concurrent_callers_get_the_same_secret(tmp_path: Path) -> None:
    for place in range(20):
        path = tmp_path / str(place) / "secret"
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _, p=path: user_secret(Disk(), p), range(8)))
        assert len(found) == 1
        assert None not in found
        assert os.listdir(path.parent) == ["secret"]


def test_without_a_usable_file_there_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"too short")
    with pytest.raises(ShoalError):
        user_secret(Disk(), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"too short"
    with pytest.raises(ShoalError):
        user_secret(Disk(), tmp_path / "file" / "secret")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ShoalError):
        user_secret(Disk(), tmp_path / "link")
    disk = FaultyDisk(Path("/"))
    disk.fault = lambda number, method: EACCES if method == "create" else 0
    with pytest.raises(ShoalError):
        user_secret(disk, Path("/secret"))


def test_a_crash_leaves_a_complete_secret_or_none() -> None:
    for call in range(1, 20):
        disk = FaultyDisk(Path("/"))
        path = Path("/shoal/secret")
        disk.fault = lambda n, method, call=call: EIO if n >= call else 0  # type: ignore[misc]
        first = None
        with suppress(ShoalError):
            first = user_secret(disk, path)
        disk.fault = lambda n, method: 0
        disk.lose_power(random.Random(call))
        assert first in (None, user_secret(disk, path))
