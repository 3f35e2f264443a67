"""Files of the formats that programs read in parts, and the count of what they read.

Each writer makes a file whose bytes do not compress, so that its size follows from the
numbers. `READS` has, for each kind of file, what reads a part of it.
"""

import io
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from shoal.integrations.fsspec import ShoalFileSystem

__all__ = [
    "MODULES",
    "READS",
    "WRITERS",
    "CountingFile",
    "bytes_received",
    "received_by",
    "write_hdf5",
    "write_netcdf",
    "write_parquet",
    "write_video",
]

ROW = 2048  # numbers in one row of an HDF5 dataset


class CountingFile(io.RawIOBase):
    """Pass reads on to a file, and count the bytes that were read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.size: int = file.size
        self.asked = 0
        """Bytes that were read; the same byte counts each time."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._file.seek(offset, whence))

    def read(self, size: int | None = -1, /) -> bytes:
        data: bytes = self._file.read(-1 if size is None else size)
        self.asked += len(data)
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        count = int(self._file.readinto(buffer))
        self.asked += count
        return count


def received_by(fs: ShoalFileSystem) -> int:
    """Return how many bytes the node of a file system has received from its peers."""

    async def count(node: Any) -> int:
        return bytes_received(node)

    return fs._loop_thread.call(count)


def bytes_received(node: Any) -> int:
    """Return how many bytes a node has received from peers, as the kernel counts them.

    They include messages, manifest pages, block hashes, and what encryption adds.
    """
    swarms = [swarm for _, swarm in node._registry.swarms]
    sockets = [p.connection._socket for swarm in swarms for p in swarm.peers]
    return sum(_bytes_received(each) for each in sockets)


def _bytes_received(sock: socket.socket) -> int:
    # `tcpi_bytes_received` of Linux's `struct tcp_info`.
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int.from_bytes(info[128:136], sys.byteorder)


def write_parquet(path: Path, rows: int, group: int, columns: int = 20) -> None:
    """Write numbers in columns `c0`, `c1` and so on, `group` rows together."""
    rng = import_module("numpy").random.default_rng(1)
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    schema = arrow.schema([(f"c{i}", arrow.float64()) for i in range(columns)])
    with parquet.ParquetWriter(
        path, schema, compression="none", use_dictionary=False
    ) as writer:
        for start in range(0, rows, group):
            size = min(group, rows - start)
            arrays = [rng.random(size) for _ in range(columns)]
            writer.write_table(arrow.table(arrays, schema=schema), group)


def write_hdf5(path: Path, rows: int) -> None:
    """Write a dataset `numbers` of `rows` rows of 16 KiB, without HDF5's chunks."""
    rng = import_module("numpy").random.default_rng(2)
    with import_module("h5py").File(path, "w") as file:
        numbers = file.create_dataset("numbers", (rows, ROW), "f8")
        for start in range(0, rows, 256):
            size = min(256, rows - start)
            numbers[start : start + size] = rng.random((size, ROW))


def write_netcdf(path: Path, times: int) -> None:
    """Write four variables of `times` fields, each of 1 MiB and stored by itself."""
    numpy, xarray = import_module("numpy"), import_module("xarray")
    names = [f"v{i}" for i in range(4)]
    xarray.Dataset(
        {
            name: (
                ("time", "y", "x"),
                numpy.random.default_rng(i).random((times, 256, 512)),
            )
            for i, name in enumerate(names)
        }
    ).to_netcdf(
        path,
        engine="h5netcdf",
        encoding={name: {"chunksizes": (1, 256, 512)} for name in names},
    )


def write_video(path: Path, seconds: int) -> None:
    """Write a film of noise, of about a megabyte per second."""
    av, numpy = import_module("av"), import_module("numpy")
    rng = numpy.random.default_rng(3)
    with av.open(
        str(path), "w", format="mp4", options={"movflags": "faststart"}
    ) as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.bit_rate = 8_000_000
        for _ in range(25 * seconds):
            noise = rng.integers(0, 255, (480, 640, 3), dtype=numpy.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def read_parquet(file: Any) -> None:
    """Read one column."""
    import_module("pyarrow.parquet").read_table(file, columns=["c7"])


def read_hdf5(file: Any) -> None:
    """Read an eighth of the rows, in four places."""
    with import_module("h5py").File(file, "r") as opened:
        numbers = opened["numbers"]
        count = len(numbers) // 32
        for place in range(4):
            start = place * (len(numbers) // 4) + 3
            assert numbers[start : start + count].shape == (count, ROW)


def read_netcdf(file: Any) -> None:
    """Read a quarter of the fields of one variable."""
    with import_module("xarray").open_dataset(file, engine="h5netcdf") as opened:
        values = opened["v2"]
        first = len(values) // 3
        assert values[first : first + len(values) // 4].mean().compute() > 0


def read_video(file: Any) -> None:
    """Seek to four places and decode two seconds at each."""
    av = import_module("av")
    with av.open(file) as opened:
        length = opened.duration
        for part in (0.2, 0.7, 0.4, 0.9):
            opened.seek(int(part * length))
            frames = opened.decode(video=0)
            for _ in range(50):
                if next(frames, None) is None:
                    break


MODULES = {
    "parquet": ("pyarrow",),
    "hdf5": ("h5py",),
    "netcdf": ("xarray", "h5netcdf"),
    "video": ("av",),
}
"""What each kind of file needs."""
READS: dict[str, Callable[[Any], None]] = {
    "parquet": read_parquet,
    "hdf5": read_hdf5,
    "netcdf": read_netcdf,
    "video": read_video,
}
"""What reads a part of each kind of file, from an open file."""
WRITERS: dict[str, Callable[[Path, int], None]] = {
    "parquet": lambda path, mib: write_parquet(path, mib * 6554, 1 << 20),
    "hdf5": lambda path, mib: write_hdf5(path, mib * 64),
    "netcdf": lambda path, mib: write_netcdf(path, mib // 4),
    "video": lambda path, mib: write_video(path, mib),
}
"""What writes each kind of file, of about so many MiB."""
