"""Every program in examples/ works."""

import json
import os
import socket
import sys
import zipfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.helpers.process import Finished, Program
from tests.helpers.requirements import require
from tests.helpers.sharing import Share

EXAMPLES = Path(__file__).parents[2] / "examples"
ALONE = {
    "SHOAL_LAN_ONLY": "1",
    "SHOAL_NO_LAN": "1",
    "SHOAL_INTERFACES": "127.0.0.1",
}
TESTED = {"columns", "embed", "fetch", "share", "slice", "unzip"}


def example(name: str, *args: object, **variables: object) -> Program:
    """Start an example with these environment variables."""
    env = {**os.environ, **ALONE, **{k: str(v) for k, v in variables.items()}}
    argv = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, args)]
    return Program(argv, env=env)


def run(name: str, *args: object, port: int) -> Finished:
    """Run an example, which knows the peer at this port; it must succeed."""
    ended = example(name, *args, SHOAL_PEER=f"127.0.0.1:{port}").finish()
    assert (ended.code, ended.stderr) == (0, "")
    return ended


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


def test_share_and_fetch(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(300_000))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with example("share", source, SHOAL_PORT=port) as sharer:
        link = sharer.wait_line(r"^shoal:\S+$")[0]
        ended = run("fetch", link, tmp_path / "copy", port=port)
        assert sharer.finish().code == 0
    assert ended.stdout.decode().splitlines()[-1] == str(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_slice(tmp_path: Path, share: Share) -> None:
    data = bytes(range(200))
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [50], "data_offsets": [100, 150]}}
    ).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    shared = share(path)
    ended = run("slice", shared.link, path.name, "w", port=shared.port)
    assert ended.stdout.decode() == f"U8 [50] {data[100:108].hex()}\n"


def test_unzip(tmp_path: Path, share: Share) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("today.txt", "all is well\n")
        archive.writestr("noise.bin", os.urandom(1_000_000))
    shared = share(path, chunk_size=16_384)
    ended = run("unzip", shared.link, "today.txt", port=shared.port)
    assert ended.stdout.decode().splitlines()[-1] == "all is well"
    assert shared.uploaded < 100_000


def test_embed(tmp_path: Path, share: Share) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"d" * 100_000)
    shared = share(path)
    (tmp_path / "out").mkdir()
    ended = run("embed", tmp_path / "out", shared.link, port=shared.port)
    assert f"complete: {tmp_path}/out/data" in ended.stdout.decode()
    assert (tmp_path / "out/data").read_bytes() == path.read_bytes()


def test_columns(tmp_path: Path, share: Share) -> None:
    missing = find_spec("pandas") is None or find_spec("pyarrow") is None
    require("pandas or pyarrow is not installed" if missing else None)
    path = tmp_path / "prices.parquet"
    import_module("pandas").DataFrame({"price": [1.0, 2.0, 3.0]}).to_parquet(path)
    shared = share(path)
    ended = run("columns", shared.link, path.name, "price", port=shared.port)
    assert "mean     2.0" in ended.stdout.decode()
