"""Parts of large files, read by the libraries for their formats: bytes received."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

from tests.helpers.datasets import MODULES, WRITERS
from tests.helpers.netns import Namespace

from benchmarks.measure import run_client
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import own_argv
from benchmarks.peers.shoal import SealedShare

__all__ = ["WORKLOAD"]

SIZES = {"parquet": 1024, "hdf5": 1024, "netcdf": 1024, "video": 60}  # MiB
NAMES = {
    "parquet": "Parquet: one column of 20 (pyarrow)",
    "hdf5": "HDF5: an eighth of the rows (h5py)",
    "netcdf": "NetCDF: a quarter of one variable of 4 (xarray)",
    "video": "MP4: two seconds in four places (PyAV)",
}


def prepare(setup: Setup) -> Sequence[Side]:
    """Write the files and share them."""
    namespace = setup.stack.enter_context(Namespace())
    sides = []
    for kind, name in NAMES.items():
        if setup.admits(name, partial(_missing, kind)):
            file = setup.scratch / kind
            WRITERS[kind](file, SIZES[kind])
            home = setup.scratch / "home"
            share = SealedShare.start(setup.stack, namespace, file, home)
            peer = f"127.0.0.1:{share.port}"
            argv = own_argv("part_client", kind, share.link, peer, kind)
            sides.append(Side(name, partial(_run, namespace, argv)))
    return sides


def _missing(kind: str) -> str | None:
    missing = [name for name in ("numpy", *MODULES[kind]) if find_spec(name) is None]
    return f"{', '.join(missing)} is not installed" if missing else None


def _run(namespace: Namespace, argv: list[str]) -> Sample:
    return run_client(argv, namespace=namespace).figures


WORKLOAD = Workload(
    name="part-reads",
    title="Parts of large files, read by libraries",
    how=(
        "Sealed shares with the chunks that they have by default, on loopback: 1 GiB "
        "each, 60 MiB of video. A library opens the file through fsspec and reads a "
        "part of it. Compared are the bytes that it reads from the file object with "
        "all bytes that its node receives meanwhile, including messages and block "
        "hashes. The manifest and the first open are not counted."
    ),
    columns=(
        Column("read", "MiB read", 1, 2**-20),
        Column("received", "MiB received", 1, 2**-20),
        Column("seconds", "s"),
    ),
    ratios=tuple(
        Ratio(
            f"received : read, {NAMES[kind]}",
            "more",
            NAMES[kind],
            goal=f"at most {1.05 if kind == 'parquet' else 1.1}",
        )
        for kind in NAMES
    ),
    prepare=prepare,
)
