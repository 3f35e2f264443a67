"""An S3 server as an origin: moto's, on loopback, read through s3fs."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from shoal.errors import UnfinishedError, VerificationError
from shoal.node.node import Node
from tests.helpers.fetching import fetch_from_origin, here
from tests.helpers.folders import list_folder
from tests.helpers.s3 import put_into, s3_server

pytestmark = pytest.mark.interop

CHUNK = 16_384
FILES = {
    "config.json": b"{}",
    "empty": b"",
    "log.gz": gzip.compress(Random(3).randbytes(2 * CHUNK)),
    "weights/a b.bin": Random(1).randbytes(20 * CHUNK + 5),
    "weights/\u00fc.bin": Random(2).randbytes(3 * CHUNK),
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start an S3 server; return the URL of a folder in one of its buckets."""
    with s3_server(monkeypatch) as address:
        put_into(address, "models", {f"small ones/{k}": v for k, v in FILES.items()})
        yield "s3://models/small ones/"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder with the same files."""
    folder = tmp_path / "small"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@pytest.mark.program("origins", "moto (S3)", "pip:moto", "s3://, keys with spaces")
@pytest.mark.program("origins", "s3fs", "pip:s3fs", "reads s3:// for shoal")
async def test_a_folder_is_fetched_from_s3(
    bucket: str, model: Path, tmp_path: Path
) -> None:
    await fetch_from_origin(model, tmp_path / "out", bucket, chunk_size=CHUNK)
    assert list_folder(tmp_path / "out") == list_folder(model)


async def test_sharing_checks_the_files_in_the_bucket(bucket: str, model: Path) -> None:
    async with Node(here()) as node:
        share = await node.share(model, origins=bucket)
        assert share.link.origins == (bucket,)
        (model / "config.json").write_bytes(b"{ }")
        with pytest.raises(VerificationError, match="s3://models .*3 B here"):
            await node.share(model, origins=bucket)


async def test_a_missing_bucket_is_named_in_the_error(
    bucket: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnfinishedError, match="The origin s3://none"):
        await fetch_from_origin(
            model, tmp_path / "out", "s3://none/small/", chunk_size=CHUNK, timeout=1
        )
