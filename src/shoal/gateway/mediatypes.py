"""Choose a file's media type by its extension, the same on every machine.

`mimetypes` reads the system's tables, so its results differ between machines. Browsers
may show only types that cannot run scripts; files of all other types are saved.
"""

from urllib.parse import quote

from msgspec import Struct

from shoal.core.manifest.paths import hides

__all__ = ["MediaType", "disposition", "media_type", "visible_name"]


class MediaType(Struct, frozen=True):
    """Hold the media type of a file."""

    name: str
    """The value of `Content-Type`."""
    is_passive: bool
    """True if a browser may show the file, because it cannot contain a script."""

    @property
    def is_played(self) -> bool:
        """Return True if a browser makes its own page to show the file."""
        return self.is_passive and self.name.startswith(_PLAYED)


_PLAYED = ("image/", "audio/", "video/")
_PASSIVE = {
    # Text, assumed to be UTF-8.
    "text/plain; charset=utf-8": "txt text log md rst ini cfg conf toml yaml yml "
    "py c h cc cpp rs go java sh srt ass tex diff patch",
    "text/csv; charset=utf-8": "csv",
    "text/tab-separated-values; charset=utf-8": "tsv",
    "text/vtt; charset=utf-8": "vtt",
    "application/json": "json",
    # Pictures; not SVG, which can contain scripts.
    "image/png": "png",
    "image/jpeg": "jpg jpeg jpe jfif",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/bmp": "bmp",
    "image/tiff": "tif tiff",
    "image/x-icon": "ico",
    # Sound.
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a m4b",
    "audio/aac": "aac",
    "audio/ogg": "ogg oga opus",
    "audio/flac": "flac",
    "audio/wav": "wav",
    "audio/webm": "weba",
    # Video.
    "video/mp4": "mp4 m4v",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "video/x-matroska": "mkv",
    "video/quicktime": "mov qt",
    "video/mp2t": "ts m2ts mts",
    "video/mpeg": "mpg mpeg",
    "video/x-msvideo": "avi",
    "video/x-flv": "flv",
    "video/3gpp": "3gp",
}
_ACTIVE = {
    "text/html; charset=utf-8": "html htm",
    "application/xhtml+xml": "xhtml xht",
    "image/svg+xml": "svg svgz",
    "application/xml": "xml xsl xslt",
    "text/javascript; charset=utf-8": "js mjs",
    "text/css; charset=utf-8": "css",
    "application/pdf": "pdf",
    "application/wasm": "wasm",
    "application/zip": "zip",
    "application/gzip": "gz tgz",
    "application/x-xz": "xz",
    "application/zstd": "zst",
    "application/x-bzip2": "bz2",
    "application/x-7z-compressed": "7z",
    "application/x-tar": "tar",
    "application/epub+zip": "epub",
    "application/vnd.apache.parquet": "parquet",
    "application/x-ndjson": "ndjson jsonl",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/dash+xml": "mpd",
}
_UNKNOWN = MediaType("application/octet-stream", False)
_TYPES = {
    ending: MediaType(name, is_passive)
    for table, is_passive in ((_PASSIVE, True), (_ACTIVE, False))
    for name, endings in table.items()
    for ending in endings.split()
}


def media_type(path: str) -> MediaType:
    """Return the media type of the file at a path, by its extension."""
    name = path.rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    return _TYPES.get(ending.lower(), _UNKNOWN) if stem else _UNKNOWN


def disposition(path: str) -> str:
    """Return a file's `Content-Disposition` (RFC 6266, its name as in RFC 8187)."""
    kind = "inline" if media_type(path).is_passive else "attachment"
    name = visible_name(path.rpartition("/")[2])
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}"


def visible_name(name: str) -> str:
    """Return a name under which something is saved, with `_` before one that hides it.

    The maker of a link chooses the name, and a browser saves a file under it unasked.
    """
    return f"_{name}" if hides(name) else name
