"""Where in the files at an origin the chunks of a share lie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.manifest import Manifest
from shoal.origin.parts import ChunkCollector, Part, parts_of
from shoal.origin.source import runs_of
from shoal.origin.web import parse_content_range

CHUNK = 16_384

sizes = st.lists(
    st.integers(0, 3 * CHUNK) | st.sampled_from([0, 1, CHUNK]), min_size=1, max_size=9
)


def folder(sizes: list[int]) -> Manifest:
    """Return the manifest of a folder whose files have these sizes."""
    files = [(f"f{number}/x", size, False) for number, size in enumerate(sizes)]
    count = -(-sum(sizes) // CHUNK)
    digests = chunk_digest(b"") * count
    return build_manifest("d", sum(sizes), CHUNK, digests, files, salt=bytes(16))


@given(sizes, st.data())
def test_parts_put_together_are_the_chunks(
    sizes: list[int], data: st.DataObject
) -> None:
    manifest = folder(sizes)
    # Each byte of a file is its number, so that one taken from elsewhere shows.
    contents = {f"f{n}/x": bytes([n]) * size for n, size in enumerate(sizes)}
    whole = b"".join(contents.values())
    count = manifest.chunks.count
    start = data.draw(st.integers(0, count))
    run = range(start, data.draw(st.integers(start, count)))
    parts = parts_of(manifest, run)
    assert all(part.size and part.name == "d" for part in parts)
    assert all(len(contents[part.path]) == part.file_size for part in parts)
    begins = {path: 0 for path in contents}
    for path, before in zip(list(contents)[1:], contents, strict=False):
        begins[path] = begins[before] + len(contents[before])
    assert all(part.begin == begins[part.path] for part in parts)
    together = [contents[p.path][p.first : p.first + p.size] for p in parts]
    assert b"".join(together) == whole[run.start * CHUNK : run.stop * CHUNK]


def test_a_single_file_has_no_path() -> None:
    manifest = build_manifest("x", 2 * CHUNK + 5, CHUNK, chunk_digest(b"") * 3)
    (part,) = parts_of(manifest, range(1, 3))
    assert part == Part("", "x", CHUNK, CHUNK + 5, 2 * CHUNK + 5)


@given(st.lists(st.integers(0, 30), unique=True))
def test_runs_are_the_same_chunks_in_the_same_order(indexes: list[int]) -> None:
    runs = list(runs_of(indexes))
    assert [index for run in runs for index in run] == indexes
    for one, other in zip(runs, runs[1:], strict=False):
        assert one.stop != other.start, "one that could have been longer"


@given(st.integers(0, 2**50), st.integers(0, 2**20), st.integers(0, 2**20))
def test_a_content_range_is_read(first: int, more: int, after: int) -> None:
    last = first + more
    size = last + 1 + after
    assert parse_content_range(f"bytes {first}-{last}/{size}") == (first, last, size)
    assert parse_content_range(f"bytes {first}-{last}/*") == (first, last, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes */100",
        "bytes 5-4/100",
        "bytes 0-100/100",
        "bytes 0-1",
        "bytes -1-2/100",
        "items 0-1/100",
        "bytes 0-99999999999999999/*",
        "bytes \u0661-2/100",
    ],
)
def test_what_is_none_is_not(text: str) -> None:
    assert parse_content_range(text) is None


@given(st.data(), st.integers(1, 5 * CHUNK), st.sets(st.integers(0, 5)))
def test_chunks_are_put_together_from_blocks_of_any_size(
    data: st.DataObject, size: int, taken: set[int]
) -> None:
    content = bytes(number * 7 % 251 for number in range(size))
    chunks = Chunks(size, CHUNK)
    collector = ChunkCollector(chunks, taken.__contains__)
    start = at = data.draw(st.integers(0, size - 1))
    sizes = data.draw(st.lists(st.integers(999, 2 * CHUNK), min_size=1, max_size=5))
    found: dict[int, bytes] = {}
    while at < size:
        block = content[at : at + sizes[len(found) % len(sizes)]]
        found.update(collector.feed(at, block))
        at += len(block)
    expected = {
        index: content[index * CHUNK : (index + 1) * CHUNK]
        for index in range(-(-start // CHUNK), chunks.count)
        if index in taken
    }
    assert found == expected
    assert collector.unfinished is None


def test_a_chunk_is_not_put_together_across_a_gap() -> None:
    collector = ChunkCollector(Chunks(2 * CHUNK, CHUNK), lambda index: True)
    fed = []
    for offset, size in [(0, 9), (10, CHUNK - 10), (CHUNK, CHUNK)]:
        found = [index for index, _ in collector.feed(offset, bytes(size))]
        fed.append((found, collector.unfinished))
    assert fed == [([], 0), ([], None), ([1], None)]
