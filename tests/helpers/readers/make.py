"""Write the files that the lines of docs/tasks/readers.md read.

python make.py FOLDER

It runs in the environment of these programs, without shoal's development packages.
"""

import io
import sys
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

__all__: list[str] = []

numpy: Any = import_module("numpy")
RNG = numpy.random.default_rng(1)


def write_tables(top: Path) -> None:
    """Write a Parquet table of twenty columns, and one of points."""
    pandas, geopandas = import_module("pandas"), import_module("geopandas")
    frame = pandas.DataFrame({f"c{i}": RNG.random(200_000) for i in range(20)})
    frame.to_parquet(top / "t.parquet", compression=None, row_group_size=20_000)
    points = geopandas.points_from_xy(RNG.random(20_000), RNG.random(20_000))
    data = {f"c{i}": RNG.random(20_000) for i in range(20)}
    geopandas.GeoDataFrame(data, geometry=points, crs=4326).to_parquet(
        top / "points.parquet"
    )


def write_arrays(top: Path) -> None:
    """Write HDF5, NetCDF and Zarr, plain and sharded."""
    h5py, xarray = import_module("h5py"), import_module("xarray")
    zarr = import_module("zarr")
    with h5py.File(top / "n.h5", "w") as file:
        file["numbers"] = RNG.random((4096, 512))
    sizes = (64, 128, 256)
    fields = {f"v{i}": (("time", "y", "x"), RNG.random(sizes)) for i in range(4)}
    chunks = {name: {"chunksizes": (1, 128, 256)} for name in fields}
    xarray.Dataset(fields).to_netcdf(top / "v.nc", engine="h5netcdf", encoding=chunks)
    for name, more in (("plain", {}), ("sharded", {"shards": (1000, 1000)})):
        made = zarr.create_array(
            str(top / f"{name}.zarr"),
            shape=(2000, 2000),
            chunks=(100, 100),
            dtype="f8",
            compressors=None,
            **more,
        )
        made[:] = RNG.random((2000, 2000))


def write_images(top: Path) -> None:
    """Write TIFF files, a film and a brain."""
    tifffile, rasterio = import_module("tifffile"), import_module("rasterio")
    nibabel, av = import_module("nibabel"), import_module("av")
    pages = RNG.integers(0, 255, (40, 512, 512), dtype="u1")
    tifffile.imwrite(top / "pages.tif", pages, photometric="minisblack")
    profile = {"driver": "GTiff", "width": 4096, "height": 4096, "count": 1}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "dtype": "uint8"}
    with rasterio.open(top / "map.tif", "w", **profile, **tiles) as file:
        file.write(RNG.integers(0, 255, (1, 4096, 4096), dtype="u1"))
    volume = nibabel.Nifti1Image(RNG.random((64, 64, 32, 20)), numpy.eye(4))
    nibabel.save(volume, top / "brain.nii")
    faststart = {"movflags": "faststart"}
    with av.open(str(top / "film.mp4"), "w", format="mp4", options=faststart) as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.bit_rate = 8_000_000
        for _ in range(250):
            noise = RNG.integers(0, 255, (480, 640, 3), dtype="u1")
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))


def write_rest(top: Path) -> None:
    """Write sound, tensors, an archive of samples and a text."""
    soundfile = import_module("soundfile")
    safetensors = import_module("safetensors.numpy")
    sound = RNG.uniform(-1, 1, (44_100 * 60, 1))
    soundfile.write(top / "sound.flac", sound, 44_100)
    tensors = {f"layer{i}": RNG.random(100_000) for i in range(10)}
    safetensors.save_file(tensors, top / "m.safetensors")
    with tarfile.open(top / "samples.tar", "w") as archive:
        for number in range(200):
            data = RNG.bytes(20_000)
            info = tarfile.TarInfo(f"{number:04}.bin")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    lines = "".join(f"{i} {i * i}\n" for i in range(200_000))
    (top / "lines.txt").write_text(lines)


def main(folder: str) -> None:
    """Write all of them."""
    top = Path(folder)
    top.mkdir(parents=True, exist_ok=True)
    for write in (write_tables, write_arrays, write_images, write_rest):
        write(top)


if __name__ == "__main__":
    main(sys.argv[1])
