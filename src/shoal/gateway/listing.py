"""Folders as HTML: plain links, no script, and nothing of a name that is markup."""

from collections.abc import Iterable, Iterator
from html import escape

from msgspec import Struct

from shoal.core.manifest.listing import list_files
from shoal.core.manifest.manifest import Manifest
from shoal.gateway.paths import quoted

__all__ = ["CSP", "Entry", "children", "page"]

CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""What a listing may do: look like something."""
_STYLE = (
    ":root{color-scheme:light dark;font:1rem/1.6 system-ui,sans-serif}"
    "body{margin:1rem auto;max-width:50rem;padding:0 1rem}"
    "td{padding:.1rem 1rem .1rem 0;overflow-wrap:anywhere}"
    "td+td{text-align:right;white-space:nowrap}"
)


class Entry(Struct, frozen=True):
    """Name something in a folder."""

    name: str
    """The last part of its path, or what it is called."""
    href: str
    """Where it is, from where the listing is; as in a URL."""
    size: int | None
    """Bytes; None for a folder."""


def children(manifest: Manifest, folder: str) -> Iterator[Entry]:
    """Yield what is directly in a folder of a share, in the order of its paths.

    Raises `NotFoundError` when there is no such folder.
    """
    files = list_files(manifest, folder)
    start = len(folder) + 1 if folder else 0
    below = ""
    for file in files:
        if below and file.path.startswith(below):
            continue
        name, slash, _ = file.path[start:].partition("/")
        if slash:
            below = file.path[: start + len(name) + 1]
            yield Entry(name + "/", f"./{quoted(name)}/", None)
        else:
            yield Entry(name, f"./{quoted(name)}", file.size)


def page(title: str, entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a listing, line by line."""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1><bdi>{escape(title)}</bdi></h1>\n"
    )
    yield "<table>\n"
    for entry in entries:
        href, name = escape(entry.href), escape(entry.name)
        size = "" if entry.size is None else f"{entry.size:,}"
        yield f'<tr><td><a href="{href}"><bdi>{name}</bdi></a><td>{size}\n'
    yield "</table>\n"
