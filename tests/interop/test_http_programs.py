"""Programs that download fetch files and folders from the gateway."""

import asyncio
import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from tests.helpers.folders import list_folder
from tests.helpers.gateway import serving
from tests.helpers.holder import Holder
from tests.interop.test_http_clients import holding_of

INSTALL_TIME = 900  # seconds for the installation before the first test
pytestmark = [
    pytest.mark.interop,
    pytest.mark.long,
    pytest.mark.timeout(INSTALL_TIME + 60),
]

ROOT = Path(__file__).parents[2]
SIZE = 3_000_001
WHEEL = "things-1.0-py3-none-any.whl"


class Client(NamedTuple):
    """A program, how it is run, and what it leaves; words may contain `{url}`."""

    name: str
    version: str
    what: str
    argv: tuple[str, ...]
    found: Callable[[Path, Path], bool]
    """Return True if the output is right, given the folder shared and the output."""


def same_folder(shared: Path, out: Path) -> bool:
    """Return True if all files are there, beside pages of the folders."""
    found = [e for e in list_folder(out) if not e.path.endswith("index.html")]
    return list_folder(shared) == found


def same_file(shared: Path, out: Path) -> bool:
    return (out / "f").read_bytes() == (shared / "large.bin").read_bytes()


def same_disk(shared: Path, out: Path) -> bool:
    return (out / "f").read_bytes() == (shared / "disk.img").read_bytes()


def same_parts(shared: Path, out: Path) -> bool:
    """Return True if `f` has the hash of each of 60 ranges."""
    data, size = (shared / "large.bin").read_bytes(), 50_000
    parts = (data[n * size : (n + 1) * size] for n in range(60))
    hashes = [hashlib.sha256(part).hexdigest() for part in parts]
    return (out / "f").read_text().split() == hashes


def is_wheel(shared: Path, out: Path) -> bool:
    return (out / WHEEL).read_bytes() == (shared / WHEEL).read_bytes()


def is_member(shared: Path, out: Path) -> bool:
    return (out / "f").read_text() == "9000"


def is_sum(shared: Path, out: Path) -> bool:
    return (out / "f").read_text() == str(sum(range(50_000)))


def same_copy(shared: Path, out: Path) -> bool:
    return list_folder(shared) == list_folder(out / "copy")


def same_frame(shared: Path, out: Path) -> bool:
    """Return True if mpv found the frame that it finds in the local file."""
    subprocess.run(_mpv(str(shared / "film.mp4"), str(out / "local")), check=True)
    name = "00000001.png"
    return (out / name).read_bytes() == (out / "local" / name).read_bytes()


def same_film(shared: Path, out: Path) -> bool:
    """Return True if VLC wrote the frames that it writes of the local file."""
    subprocess.run(_vlc(str(shared / "film.mp4"), str(out / "local")), check=True)
    return _frames(out / "f") == _frames(out / "local")


def _frames(path: Path) -> bytes:
    """Return the hash of the frames of a film, which has more than none."""
    argv = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v"]
    argv += ["-fps_mode", "passthrough", "-f", "hash", "-"]
    assert path.stat().st_size > 1_000_000
    return subprocess.run(argv, check=True, capture_output=True).stdout


def _mpv(source: str, folder: str) -> tuple[str, ...]:
    """Return the command that shows one frame late in a film."""
    shown = ("--vo=image", "--vo-image-format=png", f"--vo-image-outdir={folder}")
    argv = ("mpv", "--no-config", "--really-quiet", *shown, "--ao=null")
    return (*argv, "--start=20", "--frames=1", source)


def _vlc(source: str, out: str) -> tuple[str, ...]:
    """Return the command that copies a film, as what is not root."""
    copied = f"#std{{access=file,mux=ts,dst={out}}}"
    return ("unshare", "--user", "cvlc", "-q", source, "--sout", copied, "vlc://quit")


_NODE = """
const url = process.argv[1], out = process.argv[2];
const { createHash } = require("crypto");
const hash = (data) => createHash("sha256").update(data).digest("hex");
const part = async (n) => {
  const range = `bytes=${n * 50000}-${n * 50000 + 49999}`;
  const answer = await fetch(url, { headers: { range } });
  if (answer.status !== 206) throw new Error(answer.status);
  return hash(Buffer.from(await answer.arrayBuffer()));
};
Promise.all([...Array(60).keys()].map(part)).then((hashes) =>
  require("fs").writeFileSync(out, hashes.join(" ")));
"""
_MOUNT = """
mkdir "$2/mount" && HOME="$2" httpdirfs "$1" "$2/mount" >/dev/null || exit
cp -r "$2/mount" "$2/copy"
found=$?
fusermount -u "$2/mount" && exit $found
"""
_REMOTEZIP = """
import sys, remotezip
with remotezip.RemoteZip(sys.argv[1]) as archive:
    open(sys.argv[2], "w").write(str(len(archive.read("things/data.txt"))))
"""
_POLARS = """
import sys, polars
frame = polars.scan_parquet(sys.argv[1]).select("n").collect()
open(sys.argv[2], "w").write(str(frame["n"].sum()))
"""
_PANDAS = """
import sys, pandas
frame = pandas.read_parquet(sys.argv[1], columns=["n"])
open(sys.argv[2], "w").write(str(frame["n"].sum()))
"""


def _python(code: str, path: str) -> tuple[str, ...]:
    return (sys.executable, "-W", "ignore", "-c", code, "{url}" + path, "{out}/f")


CLIENTS = [
    Client(
        *("lftp", "lftp --version", "mirrors a folder"),
        ("lftp", "-c", "mirror {url} {out}"),
        same_folder,
    ),
    Client(
        *("rclone", "rclone version", "copies a folder"),
        ("rclone", "copy", "--http-url", "{url}", ":http:", "{out}"),
        same_folder,
    ),
    Client(
        *("aria2", "aria2c --version", "16 ranges of a file at once"),
        ("aria2c", "-q", "-x16", "-s16", "-k1M", "-d", "{out}", "-o", "f")
        + ("{url}large.bin",),
        same_file,
    ),
    Client(
        *("qemu-img", "qemu-img --version", "converts a remote disk"),
        ("qemu-img", "convert", "-f", "raw", "-O", "raw", "{url}disk.img", "{out}/f"),
        same_disk,
    ),
    Client(
        *(
            "nbdkit curl",
            "nbdkit --version",
            "serves a remote disk to qemu-img",
        ),
        ("sh", "-c")
        + ("nbdkit -r curl {url}disk.img --run 'qemu-img convert $nbd {out}/f'",),
        same_disk,
    ),
    Client(
        *("Node.js fetch", "node --version", "60 ranges at once"),
        ("node", "-e", _NODE, "{url}large.bin", "{out}/f"),
        same_parts,
    ),
    Client(
        *("pip", "pip:pip", "finds a wheel by --find-links"),
        (sys.executable, "-m", "pip", "download", "-q", "--no-index", "--no-deps")
        + ("--find-links", "{url}", "-d", "{out}", "things"),
        is_wheel,
    ),
    Client(
        *("remotezip", "pip:remotezip", "one member of a zip archive"),
        _python(_REMOTEZIP, WHEEL),
        is_member,
    ),
    Client(
        *("polars", "pip:polars", "one column of a parquet file"),
        _python(_POLARS, "table.parquet"),
        is_sum,
    ),
    Client(
        *("pandas http", "pip:pandas", "one column of a parquet file"),
        _python(_PANDAS, "table.parquet"),
        is_sum,
    ),
    Client(
        *("mpv", "mpv --version", "jumps in a film whose index is at its end"),
        _mpv("{url}film.mp4", "{out}"),
        same_frame,
    ),
    Client(
        *("VLC", "dpkg:vlc-bin", "copies a film whose index is at its end"),
        _vlc("{url}film.mp4", "{out}/f"),
        same_film,
    ),
    Client(
        *("httpdirfs", "dpkg:httpdirfs", "mounts a folder, which is copied"),
        ("sh", "-c", _MOUNT, "sh", "{url}", "{out}"),
        same_copy,
    ),
    Client(
        *("wget", "wget --version", "continues a file"),
        ("wget", "-q", "-c", "-O", "{out}/f", "{url}large.bin"),
        same_file,
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the programs, and make what they fetch."""
    import pandas

    subprocess.run(
        [ROOT / "scripts/setup", "servers"], check=True, timeout=INSTALL_TIME
    )
    top = tmp_path_factory.mktemp("http") / "things"
    (top / "sub/deep").mkdir(parents=True)
    random = Random(1)
    (top / "large.bin").write_bytes(random.randbytes(SIZE))
    (top / "disk.img").write_bytes(random.randbytes(1 << 20))
    (top / "sub/a b.txt").write_text("a b")
    (top / "sub/deep/c.txt").write_text("c")
    table = pandas.DataFrame({"n": range(50_000), "text": ["x" * 50] * 50_000})
    table.to_parquet(top / "table.parquet")
    _write_wheel(top / WHEEL)
    _write_film(top / "film.mp4")
    return top


def _write_film(path: Path) -> None:
    """Write 30 s of moving pictures; ffmpeg writes the index of them last."""
    argv = ["ffmpeg", "-v", "error", "-f", "lavfi"]
    argv += ["-i", "testsrc=size=320x240:rate=25:duration=30"]
    subprocess.run([*argv, "-c:v", "mpeg4", "-b:v", "2M", path], check=True)


def _write_wheel(path: Path) -> None:
    files = {
        "things/data.txt": b"x" * 9000,
        "things-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: things\n"
        b"Version: 1.0\n",
        "things-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items()
    )
    files["things-1.0.dist-info/RECORD"] = record.encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _digest(data: bytes) -> str:
    digest = hashlib.sha256(data).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(
            each,
            id=each.name,
            marks=pytest.mark.program("clients", each.name, each.version, each.what),
        )
        for each in CLIENTS
    ],
)
async def test_a_program_fetches_from_the_gateway(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    async with Holder(holding_of(folder)) as holder, serving(holder) as gateway:
        url = gateway.url + "files/0/"
        argv = [
            word.replace("{url}", url).replace("{out}", str(tmp_path))
            for word in client.argv
        ]
        ended = await asyncio.to_thread(
            subprocess.run, argv, capture_output=True, text=True, timeout=50
        )
    assert ended.returncode == 0, ended.stderr
    assert client.found(folder, tmp_path)
