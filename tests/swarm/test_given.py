"""What the user shares: several paths, links to files, and pipes."""

import io
import os
import threading
from errno import ENOSPC
from pathlib import Path

import pytest

from shoal.core.report.events import Notice
from shoal.errors import DiskFullError, ShoalError, UsageError, VerificationError
from shoal.node.node import Node
from shoal.storage.catalogue import Catalogue
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.system import translate
from shoal.swarm.share import SealedShare
from tests.helpers.fetching import here

BLOCK = 65_536


@pytest.fixture(autouse=True)
def home(own_home: Path) -> Path:
    return own_home


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder: `top/a.txt`, `top/b/c` and `else/d`."""
    for name in ("top/a.txt", "top/b/c", "else/d"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 1000)
    return tmp_path


def paths_of(share: SealedShare) -> list[str]:
    return [file.path for file in share.manifest.files]


async def content_of(node: Node, share: SealedShare, path: str | None = None) -> bytes:
    async with node.open(share.link, path) as file:
        return await file.read()


# Several paths.


async def test_several_paths_are_one_folder(tree: Path) -> None:
    top = tree / "top"
    async with Node(here()) as node:
        share = await node.share([top / "b", top / "a.txt", top / "b"])
        assert share.manifest.root.name == "top"
        assert paths_of(share) == ["a.txt", "b/c"]
        whole = await node.share(top)
        assert whole.link == share.link, "it is the same as that of the folder"
        named = await node.share([top / "b", tree / "else/d"], name="mixed")
        assert named.manifest.root.name == "mixed"
        assert paths_of(named) == ["b/c", "d"]
        for path, place in (("b/c", "top/b/c"), ("d", "else/d")):
            expected = (tree / place).read_bytes()
            assert await content_of(node, named, path) == expected


async def test_several_paths_are_selected_by_patterns(tree: Path) -> None:
    async with Node(here()) as node:
        paths = [tree / "top", tree / "else"]
        share = await node.share(paths, include="top/b", name="x")
        assert paths_of(share) == ["top/b/c"]


async def test_paths_that_cannot_be_one_folder_are_refused(tree: Path) -> None:
    (tree / "else" / "a.txt").touch()
    top = tree / "top"
    async with Node(here()) as node:
        wrong: list[tuple[list[Path], type[ShoalError], str]] = [
            ([top / "a.txt", tree / "else"], UsageError, "in several folders; name"),
            ([top / "a.txt", tree / "else/a.txt"], UsageError, "Two of the paths"),
            ([top / "a.txt", top / "*.jpg"], ShoalError, "There is no file .*jpg"),
            ([Path("/"), top], UsageError, "has no name"),
            ([], UsageError, "no path to share"),
        ]
        for paths, kind, message in wrong:
            name = "x" if "Two" in message else None
            with pytest.raises(kind, match=message):
                await node.share(paths, name=name)


async def test_several_paths_are_shared_again_from_the_catalogue(
    tree: Path, home: Path
) -> None:
    paths = [tree / "top/b", tree / "else/d"]
    async with Node(here()) as node:
        link = (await node.share(paths, name="mixed")).link
        # Other files of the same folder do not replace them, the same ones do.
        await node.share([tree / "top/a.txt", tree / "else/d"], name="mixed")
        await node.share(paths, name="mixed", new_link=True)
    entries = Catalogue.of_home(home, Disk()).entries()
    assert len(entries) == 2
    assert link not in [entry.link for entry in entries]
    (entry,) = (each for each in entries if list(each.parts) == paths)
    async with Node(here()) as node:
        share = await node.seed(entry)
        assert await content_of(node, share, "d") == (tree / "else/d").read_bytes()
    (tree / "else/d").write_bytes(b"other")
    async with Node(here()) as node:
        with pytest.raises(VerificationError):
            await node.seed(entry)


# Links.


def notices() -> tuple[list[str], Node]:
    said: list[str] = []

    def note(notice: Notice) -> None:
        said.append(notice.text)

    return said, Node(here(), on_notice=note)


async def test_links_to_files_are_followed_on_request(tree: Path) -> None:
    """As those of a Hugging Face cache, which lead out of the snapshot."""
    top = tree / "top"
    (top / "inner").symlink_to("a.txt")
    (top / "outer").symlink_to("../else/d")
    (top / "folder").symlink_to("b")
    (top / "broken").symlink_to("nowhere")
    said, node = notices()
    async with node:
        share = await node.share(top, follow_symlinks=True)
        assert paths_of(share) == ["a.txt", "b/c", "inner", "outer"]
        expected = (tree / "else/d").read_bytes()
        assert await content_of(node, share, "outer") == expected
        await node.verify(share.link, top, follow_symlinks=True)
        with pytest.raises(VerificationError):
            await node.verify(share.link, top)
        (top / "outer").unlink()
        (top / "outer").symlink_to("b/c")
        with pytest.raises(VerificationError):
            await node.verify(share.link, top, follow_symlinks=True)
    assert sorted(said) == [
        "'broken' is a link and is not shared.",
        "'folder' is a link to a folder and is not shared.",
        f"A link leads out of {top}, and the content is shared: 'outer' "
        f"('{tree / 'else/d'}').",
    ]


async def test_links_are_not_followed_without_a_request(tree: Path) -> None:
    (tree / "top/outer").symlink_to("../else/d")
    said, node = notices()
    async with node:
        assert paths_of(await node.share(tree / "top")) == ["a.txt", "b/c"]
    assert said == ["'outer' is a link and is not shared."]


async def test_a_link_that_leads_to_itself_is_refused(tree: Path) -> None:
    (tree / "top/one").symlink_to("two")
    (tree / "top/two").symlink_to("one")
    async with Node(here()) as node:
        with pytest.raises(UsageError, match="a link that leads back to itself"):
            await node.share(tree / "top", follow_symlinks=True)


async def test_followed_links_are_shared_again_from_the_catalogue(
    tree: Path, home: Path
) -> None:
    (tree / "top/outer").symlink_to("../else/d")
    async with Node(here()) as node:
        link = (await node.share(tree / "top", follow_symlinks=True)).link
    (entry,) = Catalogue.of_home(home, Disk()).entries()
    async with Node(here()) as node:
        share = await node.seed(entry)
        assert share.link == link
        assert await content_of(node, share, "outer") == (tree / "else/d").read_bytes()


# Pipes.


@pytest.mark.parametrize("size", [0, 1, BLOCK, 5 * BLOCK + 9])
@pytest.mark.parametrize("chunk_size", [None, 16_384, 2 * BLOCK])
async def test_a_pipe_has_the_link_of_a_file_with_its_bytes(
    size: int, chunk_size: int | None, tmp_path: Path, home: Path
) -> None:
    data = os.urandom(size)
    (tmp_path / "x.tar").write_bytes(data)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe, os.fdopen(reading, "rb") as stream:

        def fill() -> None:
            pipe.write(data)
            pipe.close()

        filling = threading.Thread(target=fill)
        filling.start()
        async with Node(here()) as node:
            made = {"name": "x.tar", "chunk_size": chunk_size}
            share = await node.share(stream, **made)  # type: ignore[arg-type]
            filling.join()
            assert await content_of(node, share) == data
            (kept,) = (home / "spool").iterdir()
            assert kept.stat().st_mode & 0o077 == 0
            link = share.link
        assert not list((home / "spool").iterdir())
    async with Node(here()) as node:
        assert (await node.share(tmp_path / "x.tar", **made)).link == link  # type: ignore[arg-type]
    assert len(Catalogue.of_home(home, Disk()).entries()) == 1, "only the file"


class FullDisk(Disk):
    """A disk that has no space left."""

    def pwrite(self, fd: int, buffers: object, offset: int) -> None:
        raise translate(OSError(ENOSPC, "No space left on device"), fd, "write")


async def test_a_full_disk_is_told_and_nothing_is_left(home: Path) -> None:
    async with Node(here(), disk=FullDisk()) as node:
        with pytest.raises(DiskFullError, match="set XDG_DATA_HOME to a folder"):
            await node.share(io.BytesIO(b"x" * 100), name="x")
    assert not list((home / "spool").iterdir())


async def test_what_a_pipe_cannot_be_shared_with_is_refused(home: Path) -> None:
    async with Node(here()) as node:
        with pytest.raises(UsageError, match="pass .*name|has no name"):
            await node.share(io.BytesIO(b"x"))
        with pytest.raises(TypeError, match="binary mode"):
            await node.share(io.StringIO("x"), name="x")  # type: ignore[arg-type]
    assert not list((home / "spool").iterdir())


async def test_what_a_killed_process_left_is_removed(home: Path) -> None:
    spool = home / "spool"
    async with Node(here()) as node:
        await node.share(io.BytesIO(b"one"), name="one")
        (spool / "left").write_bytes(b"by a process that was killed")
        await node.share(io.BytesIO(b"two"), name="two")
        assert len(list(spool.iterdir())) == 2, "those in use stay"
