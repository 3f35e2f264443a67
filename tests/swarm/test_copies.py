"""A folder is compared with a share file by file."""

from pathlib import Path

import pytest

import shoal
from shoal.errors import ShoalError, VerificationError
from tests.helpers.fetching import here

CHUNK = 16_384
FILES = {
    "a": bytes(3 * CHUNK),  # chunks 0 to 2
    "b/c": b"c" * CHUNK,  # chunk 3
    "d": b"d" * 10,  # chunk 4, with e and f
    "e": b"e" * 10,
    "f": b"f" * 10,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    for name, data in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    return top


async def compare(folder: Path, change: dict[str, bytes | None]) -> shoal.Comparison:
    """Share a folder, change some files of it, and compare it."""
    async with shoal.Node(here()) as node:
        share = await node.share(folder, chunk_size=CHUNK)
        for name, data in change.items():
            if data is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(data)
        return await node.compare(share.link, folder)


@pytest.mark.parametrize(
    ("change", "states"),
    [
        ({}, {}),
        ({"new": b""}, {"new": "extra"}),
        ({"a": bytes(CHUNK) + b"x" * 2 * CHUNK}, {"a": "changed"}),
        ({"b/c": b"x" * CHUNK}, {"b/c": "changed"}),
        ({"b/c": b"short"}, {"b/c": "changed"}),
        ({"b/c": None}, {"b/c": "missing"}),
        ({"d": b"x" * 10}, dict.fromkeys("def", "unknown")),
        ({"d": None}, {"d": "missing", "e": "unknown", "f": "unknown"}),
        (
            {"a": None, "b/c": b"", "e": b"x", "b/new": b""},
            {
                "a": "missing",
                "b/c": "changed",
                "b/new": "extra",
                "d": "unknown",
                "e": "changed",
                "f": "unknown",
            },
        ),
    ],
)
async def test_each_file_that_differs_is_named(
    change: dict[str, bytes | None], states: dict[str, str], folder: Path
) -> None:
    compared = await compare(folder, change)
    found = {each.path: each.state.value for each in compared.differences}
    assert found == states
    assert list(found) == sorted(found)
    assert compared.is_match is (set(states.values()) <= {"extra"})


async def test_the_error_counts_the_files(folder: Path) -> None:
    compared = await compare(folder, {"a": None, "b/c": b"", "new": b""})
    with pytest.raises(VerificationError) as caught:
        compared.check()
    assert str(caught.value) == (
        f"{folder} does not match the link: of 5 files, 1 changed, 1 missing."
    )


async def test_a_link_or_a_folder_in_place_of_a_file_is_a_change(folder: Path) -> None:
    async with shoal.Node(here()) as node:
        share = await node.share(folder, chunk_size=CHUNK)
        (folder / "a").rename(folder / "old")
        (folder / "a").symlink_to("old")
        (folder / "d").unlink()
        (folder / "d").mkdir()
        compared = await node.compare(share.link, folder)
    assert [(each.path, each.state.value) for each in compared.differences][:2] == [
        ("a", "changed"),
        ("d", "changed"),
    ]


async def test_a_file_is_compared_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 40)
    async with shoal.Node(here()) as node:
        share = await node.share(file)
        assert (await node.compare(share.link, file)).differences == ()
        for data in (b"y" * 40, b"x" * 39):
            file.write_bytes(data)
            (found,) = (await node.compare(share.link, file)).differences
            assert (found.path, found.state.value) == ("file", "changed")
        with pytest.raises(VerificationError, match="it is a folder, and the share is"):
            await node.verify(share.link, tmp_path)
        with pytest.raises(ShoalError, match="There is no "):
            await node.verify(share.link, tmp_path / "none")
