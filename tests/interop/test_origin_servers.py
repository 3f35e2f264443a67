"""Folders are fetched from file servers of many kinds, as origins."""

import gzip
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from tests.helpers.fetching import fetch_from_origin
from tests.helpers.folders import list_folder
from tests.helpers.web_servers import SERVERS, FileServer, serving_files

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
CHUNK = 65_536
INSTALL_TIME = 900  # seconds for the installation before the first test
TEXT = b"<p>This compresses well.</p>\n" * 8000


def _marks(server: FileServer) -> list[pytest.MarkDecorator]:
    row = pytest.mark.program("origins", server.name, server.version, server.what)
    if server.is_cheap:
        return [row]
    return [row, pytest.mark.long, pytest.mark.timeout(INSTALL_TIME + 60)]


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest) -> None:
    """Install the servers that are not installed for all tests."""
    subprocess.run(
        [ROOT / "scripts/setup", "servers"], check=True, timeout=INSTALL_TIME
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder with what servers treat differently."""
    # Apache reads as another user, and pytest lets none into its own folders.
    with TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        yield _filled(Path(parent) / "things")


def _filled(top: Path) -> Path:
    (top / "sub folder").mkdir(parents=True)
    random = Random(1)
    (top / "large.bin").write_bytes(random.randbytes(2_500_001))
    (top / "page.html").write_bytes(TEXT)
    (top / "log.txt.gz").write_bytes(gzip.compress(TEXT + random.randbytes(90_000)))
    (top / "sub folder/a+b & c\u00fc.bin").write_bytes(random.randbytes(3 * CHUNK))
    (top / "empty").write_bytes(b"")
    return top


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(each, marks=_marks(each), id=f"{each.name}-{number}")
        for number, each in enumerate(SERVERS)
    ],
)
async def test_a_folder_is_fetched_from(
    server: FileServer,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if not server.is_cheap:
        request.getfixturevalue("installed")
    (tmp_path / "work").mkdir()
    with serving_files(server, folder, tmp_path / "work") as (url, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        await fetch_from_origin(folder, tmp_path / "out", url, chunk_size=CHUNK)
    assert list_folder(tmp_path / "out") == list_folder(folder)


class Counting(SimpleHTTPRequestHandler):
    """Serve files as `python -m http.server` does, and count the requests."""

    asked: list[str]

    def do_GET(self) -> None:
        """Answer with the whole file."""
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def counted(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the folder; yield the URL, and the paths that are requested."""
    Counting.asked = []
    handler = partial(Counting, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", Counting.asked
        server.shutdown()
        thread.join()


async def test_a_server_without_ranges_is_asked_for_a_file_once(
    counted: tuple[str, list[str]], folder: Path, tmp_path: Path
) -> None:
    url, asked = counted
    await fetch_from_origin(
        folder / "large.bin", tmp_path / "out", url + "large.bin", chunk_size=CHUNK
    )
    assert (tmp_path / "out").read_bytes() == (folder / "large.bin").read_bytes()
    assert asked == ["/large.bin"]


async def test_a_server_without_ranges_is_asked_for_files_of_a_folder_twice_at_most(
    counted: tuple[str, list[str]], folder: Path, tmp_path: Path
) -> None:
    """A chunk with bytes of two files may need the beginning of the second again."""
    url, asked = counted
    await fetch_from_origin(folder, tmp_path / "out", url, chunk_size=CHUNK)
    assert list_folder(tmp_path / "out") == list_folder(folder)
    assert max(asked.count(path) for path in asked) <= 2
