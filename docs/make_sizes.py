"""Write the table of docs/sizes.md, from the constants that the code enforces.

    .venv/bin/python docs/make_sizes.py

With `-`, the table goes to standard output.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from shoal.cli.get_many import AT_ONCE, MAX_LINKS
from shoal.codes.offer import CODE_TIME
from shoal.core.dials import DIAL_RATE
from shoal.core.limits import MAX_GUESSES
from shoal.core.manifest.chunk_sizes import MAX_CHUNKS, MIN_CHUNK_SIZE
from shoal.core.manifest.chunks import MAX_CHUNK_SIZE
from shoal.core.manifest.file_pages import MAX_FILES
from shoal.core.manifest.paths import MAX_DEPTH, MAX_NAME_SIZE, MAX_PATH_SIZE
from shoal.core.names.link import MAX_HINTS
from shoal.core.names.origin_url import MAX_ORIGINS
from shoal.core.report.units import format_size
from shoal.gateway.archive import MAX_ARCHIVED
from shoal.gateway.guard import MAX_KNOWN
from shoal.gateway.server import MAX_ADDED
from shoal.storage.chunk_cache import CACHE_SIZE
from shoal.storage.disk.openfiles import MAX_OPEN
from shoal.storage.download.filestore import COMMIT_SECONDS, WRITE_BEHIND
from shoal.swarm.connections import MAX_CONNECTIONS
from shoal.transport.sealed.listen import MAX_SHARES

PAGE = Path(__file__).parent / "sizes.md"
BEGIN, END = "<!-- limits: made by make_sizes.py -->\n\n", "\n<!-- end of limits -->"
LIMITS = (
    ("size of a share", "1 PiB", "chunks times their size"),
    ("chunks of a share", f"{MAX_CHUNKS:,}", ""),
    (
        "size of a chunk",
        f"{format_size(MIN_CHUNK_SIZE)} to {format_size(MAX_CHUNK_SIZE)}",
        "a power of two; chosen by the size of the share, or with `--chunk-size`",
    ),
    ("files of a share", f"{MAX_FILES:,}", "for more, share an archive of them"),
    ("name of a file or folder", f"{MAX_NAME_SIZE} bytes", "in UTF-8"),
    ("path of a file in a share", f"{MAX_PATH_SIZE:,} bytes", f"{MAX_DEPTH} levels"),
    ("shares of one process", f"{MAX_SHARES:,}", "those only read do not count"),
    ("peers of one share", f"{MAX_CONNECTIONS}", "more find each other through these"),
    ("peers dialled", f"{DIAL_RATE:.0f} per second", "by all shares together"),
    ("files that are open at once", f"{MAX_OPEN}", "of one share"),
    ("links of `get -i`", f"{MAX_LINKS:,}", f"{AT_ONCE} are downloaded at a time"),
    ("addresses in a link", f"{MAX_HINTS}", "`,peer=`"),
    ("origins of a share", f"{MAX_ORIGINS}", "`--origin`"),
    ("life of a code", f"{CODE_TIME / 60:.0f} minutes", "or `--code-for`"),
    ("wrong codes", f"{MAX_GUESSES}", "then the code ends"),
    (
        "lost by a power failure",
        f"{COMMIT_SECONDS:.0f} s, at most {format_size(WRITE_BEHIND)}",
        "of a download, which fetches it again; a killed process loses nothing",
    ),
    ("memory for what is read", format_size(CACHE_SIZE), "of one share, by `serve`"),
    ("connections of the page", f"{MAX_KNOWN}", "`serve`, `--http`"),
    ("shares on the page", f"{MAX_ADDED}", "of `seed`; `serve` shows all of its links"),
    ("files of a ZIP archive", f"{MAX_ARCHIVED:,}", "that the page makes of a folder"),
)
"""What is limited, the limit, and what else there is to say."""


def main() -> None:
    """Write the table."""
    made = "\n".join(table()) + "\n"
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(made)
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    assert mark
    PAGE.write_text(before + BEGIN + made + END + after)


def table() -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    assert MAX_CHUNKS * MAX_CHUNK_SIZE == 1 << 50
    yield "| what | limit | |"
    yield "|---|---|---|"
    for row in LIMITS:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main()
