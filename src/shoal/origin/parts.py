"""Where in the files at an origin the chunks of a share lie; pure."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from shoal.core.manifest.manifest import Manifest

__all__ = ["Part", "parse_content_range", "parts_of", "runs_of"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)")


class Part(NamedTuple):
    """Say which bytes of which file are asked for."""

    path: str
    """Of the file within the share, with `/` between the names; "" for a single one."""
    name: str
    """Of the share."""
    first: int
    """Where in the file they begin."""
    size: int
    """How many they are, at least one."""
    file_size: int
    """How many the whole file has."""


def parts_of(manifest: Manifest, run: range) -> list[Part]:
    """Return where adjacent chunks lie in the files of a share, in order.

    Raises `LookupError` while the files are not known.
    """
    if not run:
        return []
    chunks, is_folder = manifest.chunks, manifest.root.is_folder
    last = run[-1]
    first, end = chunks.offset(run[0]), chunks.offset(last) + chunks.length(last)
    return [
        Part(
            span.file.path if is_folder else "",
            manifest.root.name,
            span.start,
            span.length,
            span.file.size,
        )
        for span in manifest.spans(first, end)
    ]


def runs_of(indexes: Iterable[int]) -> Iterator[range]:
    """Yield runs of adjacent chunks, in the order in which they were named."""
    start = end = 0
    for index in indexes:
        if index != end or start == end:
            if start < end:
                yield range(start, end)
            start = index
        end = index + 1
    if start < end:
        yield range(start, end)


def parse_content_range(text: str) -> tuple[int, int, int | None] | None:
    """Read a `Content-Range` (RFC 9110 section 14.4): first, last, whole size.

    The size is None where the server does not know it; None for what is not one.
    """
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == "*" else int(match[3])
    if first > last or (size is not None and last >= size):
        return None
    return first, last, size
