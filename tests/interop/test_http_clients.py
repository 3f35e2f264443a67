"""Programs that list and mirror web servers do so with the gateway."""

import asyncio
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import numpy
import pytest
import zarr

from tests.helpers.gateway import serving
from tests.helpers.holder import Holder, Holding, make_holding
from tests.helpers.requirements import require

NAMES = sorted(
    ["a b.txt", "a/b/c.txt", "a/b/d.txt", "a/e.txt", "zoë/ü%20.txt", "x'&.b"]
)


def holding_of(folder: Path) -> Holding:
    """Return a holding with the files of a folder."""
    inside = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    files = [(name, len(data), False) for name, data in sorted(inside.items())]
    data = b"".join(inside[name] for name, _, _ in files)
    return make_holding(data, name=folder.name, files=files)


def make_things(folder: Path) -> Path:
    """Make a folder with the files of `NAMES`, each of which contains its name."""
    for name in NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.mark.program(
    *("clients", "fsspec http", "pip:fsspec"),
    "find, glob, info and read",
)
async def test_fsspec_finds_globs_and_reads_every_file(tmp_path: Path) -> None:
    def read(url: str) -> tuple[list[str], list[str], dict[str, Any], list[str]]:
        options = {"skip_instance_cache": True}
        http = fsspec.filesystem("http", **options)  # type: ignore[no-untyped-call]
        found = http.find(url)
        texts = [http.cat_file(each).decode() for each in found]
        return texts, http.glob(url + "a/**/*.txt"), http.info(url + "a/e.txt"), found

    holding = holding_of(make_things(tmp_path / "things"))
    async with Holder(holding) as holder, serving(holder) as gateway:
        url = gateway.url + "files/0/"
        texts, globbed, info, found = await asyncio.to_thread(read, url)
    assert sorted(texts) == NAMES, found
    assert globbed == [f"{url}a/{each}" for each in ("b/c.txt", "b/d.txt", "e.txt")]
    assert info["size"] == len("a/e.txt")


@pytest.mark.program("clients", "zarr", "pip:zarr", "keys and arrays of a group")
async def test_zarr_lists_the_keys_of_a_group(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "z", mode="w")
    root.create_array("one", data=numpy.ones(4), chunks=(2,))
    root.create_group("two").create_array("three", shape=(1,), dtype="i4")

    def read(url: str) -> tuple[list[str], list[str], float]:
        group = zarr.open_group(url, mode="r")
        one, two = group["one"], group["two"]
        assert isinstance(one, zarr.Array)
        assert isinstance(two, zarr.Group)
        return (
            sorted(group.keys()),
            sorted(two.keys()),
            float(numpy.sum(numpy.asarray(one[:]))),
        )

    async with Holder(holding_of(tmp_path / "z")) as holder:
        async with serving(holder) as gateway:
            got = await asyncio.to_thread(read, gateway.url + "files/0")
    assert got == (["one", "two"], ["three"], 4.0)


@pytest.mark.program("clients", "wget", "wget --version", "mirrors a share twice")
async def test_wget_mirrors_a_share_and_then_fetches_nothing(tmp_path: Path) -> None:
    require(None if shutil.which("wget") else "wget is not installed")
    folder = make_things(tmp_path / "things")
    (folder / "zoë/ü%20.txt").unlink()  # wget decodes this name twice
    mirror = tmp_path / "mirror"

    def run(url: str) -> str:
        argv = ["wget", "-m", "-nH", "--cut-dirs=3", "-P", str(mirror), "-nv", url]
        ended = subprocess.run(
            argv, check=True, capture_output=True, timeout=60, env={"LC_ALL": "C.UTF-8"}
        )
        return ended.stderr.decode()

    async with Holder(holding_of(folder)) as holder, serving(holder) as gateway:
        url = gateway.url + "files/0/"
        await asyncio.to_thread(run, url)
        here = {
            path.relative_to(mirror).as_posix(): path.read_text()
            for path in mirror.rglob("*")
            if path.is_file() and path.name != "index.html"
        }
        assert here == {name: name for name in NAMES if "%" not in name}
        again = await asyncio.to_thread(run, url)
    assert "e.txt" not in again, again


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.program(
    *("clients", "GDAL (rasterio)", "pip:rasterio"),
    "opens a picture without looking for siblings",
)
async def test_gdal_believes_a_listing_instead_of_probing_for_siblings(
    tmp_path: Path,
) -> None:
    is_installed = find_spec("rasterio") is not None
    require(None if is_installed else "rasterio is not installed")
    rasterio = import_module("rasterio")
    folder = tmp_path / "pictures"
    folder.mkdir()
    shape: dict[str, Any] = {"width": 64, "height": 64, "count": 1, "dtype": "uint8"}
    with rasterio.open(folder / "a.tif", "w", driver="GTiff", **shape):
        pass
    paths: list[str] = []

    async with Holder(holding_of(folder)) as holder, serving(holder) as gateway:
        seen = gateway.shares[0].load

        async def load(path: str, *rest: Any) -> Any:
            paths.append(path)
            return await seen(path, *rest)

        gateway.shares[0].load = load  # type: ignore[method-assign]
        # In another process: rasterio keeps the interpreter's lock while it waits.
        code = "import rasterio, sys; print(rasterio.open(sys.argv[1]).shape)"
        url = f"/vsicurl/{gateway.url}files/0/a.tif"
        argv = [sys.executable, "-W", "ignore", "-c", code, url]
        got = await asyncio.to_thread(
            subprocess.check_output, argv, text=True, timeout=60
        )
    assert got == "(64, 64)\n"
    assert set(paths) == {"", "a.tif"}
