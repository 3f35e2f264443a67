"""What one may ask for when sharing and fetching."""

from pathlib import Path

from msgspec import Struct

__all__ = ["FetchOptions", "ShareOptions"]


class ShareOptions(Struct, frozen=True, kw_only=True):
    """Say how a share is made."""

    name: str | None = None
    """What it is called; the file's or folder's own name by default."""
    chunk_size: int | None = None
    """Bytes; chosen by its size by default."""
    include: tuple[str, ...] = ()
    """Patterns of the files of a folder that are shared; all by default."""
    exclude: tuple[str, ...] = ()
    """Patterns of files and folders that are left out."""
    is_public: bool = False
    """Whether everyone who shares the same bytes gets the same link."""
    new_link: bool = False
    """Whether the link should be one that nobody has yet."""


class FetchOptions(Struct, frozen=True, kw_only=True):
    """Say how a share is fetched."""

    out: Path | None = None
    """What to write to; the share's own name in `folder` by default."""
    folder: Path = Path(".")
    """Where to put it under its own name."""
    overwrite: bool = False
    """Whether a file that is there is replaced; a folder never is."""
    include: tuple[str, ...] = ()
    """Patterns of the files of a folder that are fetched; all by default."""
    exclude: tuple[str, ...] = ()
    """Patterns of files and folders that are left out."""
    keep_exec: bool = False
    """Whether files that were executable are so again."""
    seed: bool = False
    """Whether to go on sharing afterwards."""
