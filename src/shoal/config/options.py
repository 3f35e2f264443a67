"""What one may ask for when sharing and fetching.

The structs are what the rest of shoal works with, the `…Fields` are the same as
keywords of a call, where text stands in for a path and one pattern for several. What
a call leaves out is as variables and `config.toml` have it.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack

from msgspec import Struct

from shoal.config.file import Defaults
from shoal.config.parse import parse_size

__all__ = ["AnyPath", "FetchFields", "FetchOptions", "ShareFields", "ShareOptions"]

AnyPath: TypeAlias = str | os.PathLike[str]


class ShareFields(TypedDict, total=False):
    """Name what may be asked for in a call that shares."""

    name: str | None
    chunk_size: int | None
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    public: bool
    new_link: bool
    origins: str | Iterable[str]


class FetchFields(TypedDict, total=False):
    """Name what may be asked for in a call that fetches."""

    folder: AnyPath
    overwrite: bool
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    keep_exec: bool
    seed: bool


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
    public: bool = False
    """Whether everyone who shares the same bytes gets the same link."""
    new_link: bool = False
    """Whether the link should be one that nobody has yet."""
    origins: tuple[str, ...] = ()
    """URLs of servers that have the same bytes; they go along in the link."""

    @classmethod
    def of(cls, **fields: Unpack[ShareFields]) -> "ShareOptions":
        """Read the keywords of a call: `shoal.ShareOptions.of(exclude="*.tmp")`.

        Raises `TypeError` for unknown ones, `UsageError` for what is no origin and
        when a variable cannot be read.
        """
        known = Defaults.load()
        values: dict[str, Any] = {
            "name": known.text("name"),
            "chunk_size": known.read("chunk-size", parse_size),
            "public": known.flag("public"),
            "new_link": known.flag("new-link"),
            "origins": known.words("origin"),
        }
        values |= _patterns(dict(fields), known)
        if values["origins"]:
            from shoal.core.names.origin_url import parse_origins

            values["origins"] = parse_origins(values["origins"])
        return cls(**values)


class FetchOptions(Struct, frozen=True, kw_only=True):
    """Say how a share is fetched."""

    out: Path | None = None
    """What to write to; the share's own name in `folder` by default."""
    is_inside: bool = False
    """Whether a single file goes into the folder `out`, under its own name."""
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

    @classmethod
    def of(
        cls, out: AnyPath | None = None, **fields: Unpack[FetchFields]
    ) -> "FetchOptions":
        """Read the arguments of a call: `shoal.FetchOptions.of("out/", seed=True)`.

        Where `out` ends in a slash, a single file goes in there. Raises `TypeError`
        for unknown keywords, `UsageError` when a variable cannot be read.
        """
        known = Defaults.load()
        values: dict[str, Any] = {
            "folder": known.text("folder") or ".",
            "overwrite": known.flag("force"),
            "keep_exec": known.flag("keep-exec"),
            "seed": known.flag("seed"),
        }
        values |= _patterns(dict(fields), known)
        values["folder"] = Path(values["folder"])
        if out is not None:
            values["out"] = Path(out)
            values["is_inside"] = str(out).endswith(("/", os.sep))
        return cls(**values)


def _patterns(fields: dict[str, Any], known: Defaults) -> dict[str, Any]:
    for name in ("include", "exclude"):
        value = fields.get(name)
        if value is None:
            value = known.words(name, str.split)  # a comma may stand in a pattern
        fields[name] = (value,) if isinstance(value, str) else tuple(value)
    return fields
