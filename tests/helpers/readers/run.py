"""Run a line of docs/tasks/readers.md, and count the bytes that it reads.

python run.py ID LINE
python run.py FOLDER LINE

In the line, ID stands for the share. With the path of a folder, the line reads that
instead. The variables `SHOAL_…` name the peer. Prints as JSON the value of the last
expression of the line, as text, and how many bytes were read from file objects and
file systems.
"""

import ast
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import fsspec

from shoal.blocking.file import BlockingFile
from shoal.integrations.fsspec import ShoalFileSystem

__all__: list[str] = []

asked = 0
# fmt: off
MODULES = (
    "av", "dask.dataframe", "datasets", "duckdb", "geopandas", "h5py", "ibis",
    "kerchunk.hdf", "nibabel", "numpy", "pandas", "polars", "pyarrow.dataset",
    "rasterio", "rasterio.windows", "safetensors.numpy", "soundfile", "tifffile",
    "torch.utils.data", "upath", "webdataset", "xarray", "zarr",
)
# fmt: on
"""The modules that lines name; those that a line names are imported."""


def counted(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that counts the bytes that it returns or stores."""

    def wrapper(*arguments: Any, **options: Any) -> Any:
        global asked
        found = method(*arguments, **options)
        for each in found if isinstance(found, list) else [found]:
            asked += each if isinstance(each, int) else len(each)
        return found

    return wrapper


def evaluate(place: str, line: str) -> Any:
    """Run the statements of a line; return the value of its last expression."""
    is_local = place.startswith("/")
    line = line.replace("shoal://ID", place if is_local else f"shoal://{place}")
    line = line.replace("ID/", f"{place}/")
    names: dict[str, Any] = {"fs": fsspec.filesystem("file" if is_local else "shoal")}
    for name in MODULES:
        if name.partition(".")[0] + "." in line or name in line:
            import_module(name)
            top = name.partition(".")[0]
            names[top] = sys.modules[top]
    tree = ast.parse(line)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), "a line ends with an expression"
    exec(compile(tree, "<line>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<line>", "eval"), names)


if __name__ == "__main__":
    for owner, name in (
        (BlockingFile, "read"),
        (BlockingFile, "readinto"),
        (BlockingFile, "readline"),
        (ShoalFileSystem, "cat_ranges"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))
    value = evaluate(*sys.argv[1:])
    print(json.dumps({"value": str(value), "asked": asked}))
