"""What a Python caller can set for sharing and for fetching.

The structs and their keywords are used like those of `shoal.config.settings`. They are
in a separate module because they need `pathlib`, which takes long to import and which a
node alone does not need.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypedDict, Unpack

from msgspec import Struct

from shoal.core.checks import check_optional, check_type
from shoal.errors import UsageError, option, told

__all__ = ["AnyPath", "FetchFields", "FetchOptions", "ShareFields", "ShareOptions"]

AnyPath: TypeAlias = str | os.PathLike[str]


class ShareFields(TypedDict, total=False):
    """Type the keywords of a call that shares."""

    name: str | None
    chunk_size: int | None
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    follow_symlinks: bool
    public: bool
    new_link: bool
    origins: str | Iterable[str]
    code: bool
    code_for: float | str | None


class ShareOptions(Struct, frozen=True, kw_only=True):
    """Choose how a share is made."""

    name: str | None = None
    """Name shown to receivers; None is the name of the file or folder."""
    chunk_size: int | None = None
    """Size of a chunk in bytes; None chooses it by the size of the share."""
    include: tuple[str, ...] = ()
    """Patterns of the files of a folder to share; empty means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files and folders to skip."""
    follow_symlinks: bool = False
    """Whether to share the files that symbolic links in a folder lead to."""
    public: bool = False
    """Whether everyone who shares the same bytes gets the same link."""
    new_link: bool = False
    """Whether to create a link that was never used before."""
    origins: tuple[str, ...] = ()
    """URLs of servers that have the same bytes; they become part of the link."""
    code: bool = False
    """Whether to make a code, with which others can get the link for a while."""
    code_for: float | None = None
    """Seconds for which the code is valid; None is 10 minutes."""
    receivers: int = 1
    """How many receivers can get the link with the code."""

    @classmethod
    def of(cls, *, receivers: int = 1, **fields: Unpack[ShareFields]) -> "ShareOptions":
        """Read the keywords of a call: `shoal.ShareOptions.of(exclude="*.tmp")`.

        Raises `TypeError` for unknown keywords and `UsageError` for invalid values.
        """
        from shoal.config.values import values_of

        check_type("receivers", receivers, int)
        if receivers < 1:
            raise UsageError(f"receivers is {receivers}; pass 1 or more.")
        values = values_of(ShareFields.__optional_keys__, fields)
        if fields.get("code_for") is not None and not values["code"]:
            raise UsageError("code_for needs a code; pass code=True, too.")
        if fields.get("new_link") and values["public"]:
            public, new_link = option("--public"), option("--new-link")
            raise UsageError(
                f"{public} gives everyone the same link for the same bytes, and "
                f"{new_link} gives a new one; use one of them."
            )
        return cls(receivers=receivers, **values)


def check_one_file(options: Mapping[str, Any]) -> None:
    """Raise `UsageError` if a path in the share is given together with patterns."""
    if options.get("path") is not None and (options["include"] or options["exclude"]):
        raise UsageError(
            "A path in the share names one file; leave out "
            f"{told('--include and --exclude', 'include and exclude')}."
        )


class FetchFields(TypedDict, total=False):
    """Type the keywords of a call that fetches."""

    folder: AnyPath
    overwrite: bool
    include: str | Iterable[str]
    exclude: str | Iterable[str]
    keep_exec: bool
    seed: bool
    path: str | None


class FetchOptions(Struct, frozen=True, kw_only=True):
    """Choose how a share is fetched."""

    out: Path | None = None
    """Path to write to; None is the share's own name in `folder`."""
    is_inside: bool = False
    """Whether `out` is a folder that a single file is written into."""
    folder: Path = Path(".")
    """Folder to write into."""
    overwrite: bool = False
    """Whether to replace an existing file; an existing folder never is."""
    include: tuple[str, ...] = ()
    """Patterns of the files of a folder to fetch; empty means all."""
    exclude: tuple[str, ...] = ()
    """Patterns of the files and folders to skip."""
    keep_exec: bool = False
    """Whether files that were executable are made executable again."""
    seed: bool = False
    """Whether to keep sharing afterwards."""
    path: str | None = None
    """The one file of a folder to fetch, as a file; None fetches the whole share."""

    @classmethod
    def of(
        cls, out: AnyPath | None = None, **fields: Unpack[FetchFields]
    ) -> "FetchOptions":
        """Read the arguments of a call: `shoal.FetchOptions.of("out/", seed=True)`.

        If `out` ends in a slash, a single file is written into that folder. Raises
        `TypeError` for unknown keywords and `UsageError` for invalid values.
        """
        from shoal.config.values import values_of

        check_optional("out", out, str, os.PathLike)
        check_optional("path", fields.get("path"), str)
        values = values_of(FetchFields.__optional_keys__, fields)
        values["folder"] = Path(values["folder"] or ".")
        if out is not None:
            values["out"] = Path(out)
            values["is_inside"] = str(out).endswith(("/", os.sep))
        check_one_file(values)
        return cls(**values)
