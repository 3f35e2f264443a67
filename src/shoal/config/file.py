"""What a user sets once for all: the variables `SHOAL_…` and `config.toml`.

Every option has a key, its name without the dashes, and a variable: `limit-up` is
`SHOAL_LIMIT_UP`. What is given in a call or on the command line counts most, then the
variable, then the file, then the default. A file that cannot be right ends whatever
reads it, with the key to look at: it would else be obeyed in part.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

from shoal.config.parse import (
    parse_addresses,
    parse_flag,
    parse_port,
    parse_rate,
    parse_seconds,
    parse_size,
    split_words,
)
from shoal.errors import ForbiddenError, UsageError

__all__ = ["KEYS", "Defaults", "File", "config_path", "read_file", "variable_of"]

T = TypeVar("T")

MAX_SIZE = 1 << 20  # bytes of a file that is read

File: TypeAlias = Mapping[str, str | tuple[str, ...]]
"""What a file sets: the text of each key, as its variable would have it, or words."""

_Reader: TypeAlias = Callable[[Any], str | tuple[str, ...]]


def _flag(value: Any) -> str:
    if not isinstance(value, bool):
        raise ValueError("write true or false, without quotes.")
    return "1" if value else "0"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("write a text in quotes.")
    return value


def _number(read: Callable[[str], object]) -> _Reader:
    def convert(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("write a number, or a text in quotes.")
        read(str(value))
        return str(value)

    return convert


def _words(
    read: Callable[[str], object] = lambda text: None,
    split: Callable[[str], list[str]] = split_words,
) -> _Reader:
    def convert(value: Any) -> tuple[str, ...]:
        words = split(value) if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise ValueError("write a list of texts in quotes.")
        for word in words:
            read(word)
        return tuple(words)

    return convert


def _color(value: Any) -> str:
    if value not in ("auto", "always", "never"):
        raise ValueError('write "auto", "always" or "never".')
    return str(value)


def _parse_origin(text: str) -> None:
    from shoal.core.names.origin_url import parse_origin

    parse_origin(text)


_FLAGS = (
    *("force", "json", "keep-exec", "lan-only", "metrics", "new-link", "no-lan"),
    *("no-progress", "once", "public", "qr", "quiet", "seed", "use-hints", "verbose"),
)
_TEXTS = ("folder", "http", "name", "open", "out", "range")
KEYS: Mapping[str, _Reader] = {
    **dict.fromkeys(_FLAGS, _flag),
    **dict.fromkeys(_TEXTS, _text),
    "chunk-size": _number(parse_size),
    "color": _color,
    "dht-bootstrap": _words(parse_addresses),
    "exclude": _words(split=lambda text: [text]),
    "include": _words(split=lambda text: [text]),
    "interfaces": _words(),
    "limit-down": _number(parse_rate),
    "limit-up": _number(parse_rate),
    "origin": _words(_parse_origin, str.split),
    "peer": _words(parse_addresses),
    "port": _number(parse_port),
    "seed-for": _number(parse_seconds),
    "timeout": _number(parse_seconds),
}
"""What a file may set; each takes a value of TOML, or says how to write it."""


def variable_of(key: str) -> str:
    """Return the variable of a key: `SHOAL_LIMIT_UP` of `limit-up`."""
    return "SHOAL_" + key.upper().replace("-", "_")


def config_path(environ: Mapping[str, str] = os.environ) -> str:
    """Return where the file is looked for: `SHOAL_CONFIG`, or this user's folder."""
    named = environ.get("SHOAL_CONFIG")
    if named:
        return named
    if sys.platform == "linux":
        # As platformdirs has it, which takes a tenth of a short command to load.
        home = environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
        return os.path.join(os.path.expanduser(home), "shoal", "config.toml")
    else:
        from platformdirs import user_config_path

        return str(user_config_path("shoal", appauthor=False) / "config.toml")


def read_file(environ: Mapping[str, str] = os.environ) -> File:
    """Return what `config.toml` sets; nothing if there is none.

    Raises `UsageError` for a file that is wrong, or missing though `SHOAL_CONFIG`
    names it, and `ForbiddenError` for one that must not be read.
    """
    path = config_path(environ)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        if environ.get("SHOAL_CONFIG"):
            raise UsageError(
                f"There is no file {path}; make it, or set SHOAL_CONFIG otherwise."
            ) from None
        return {}
    except OSError as error:
        reason = error.strerror
        raise ForbiddenError(
            f"{path} cannot be read ({reason}); allow it, or set SHOAL_CONFIG."
        ) from None
    return dict(_read(path, data))


def _read(path: str, data: bytes) -> Iterator[tuple[str, str | tuple[str, ...]]]:
    import tomllib

    try:
        if len(data) > MAX_SIZE:
            raise ValueError(f"it is larger than {MAX_SIZE} bytes")
        values = tomllib.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}; correct it.") from None
    for key, value in values.items():
        if key not in KEYS:
            raise UsageError(f"{path}: there is no key {key[:40]!r}{_nearest(key)}")
        try:
            yield key, KEYS[key](value)
        except (ValueError, UsageError) as error:
            raise UsageError(f"{path}: {key}: {error}") from None


def _nearest(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key.replace("_", "-").lower(), KEYS, 1)
    return f"; did you mean {near[0]}?" if near else "; leave it out."


class Defaults:
    """Answer for each key what its variable says, or else the file."""

    def __init__(self, environ: Mapping[str, str], file: File) -> None:
        self._environ = environ
        self._file = file

    @classmethod
    def load(cls) -> "Defaults":
        """Return the defaults of this process; raises what `read_file` raises."""
        return cls(os.environ, read_file())

    def text(self, key: str) -> str | None:
        """Return what is set as text; None when nothing is."""
        value = self._environ.get(variable_of(key), "").strip() or self._file.get(key)
        return " ".join(value) if isinstance(value, tuple) else value

    def words(
        self, key: str, split: Callable[[str], list[str]] = split_words
    ) -> tuple[str, ...]:
        """Return what is set as several words."""
        value = self._environ.get(variable_of(key), "").strip() or self._file.get(key)
        return tuple(split(value)) if isinstance(value, str) else value or ()

    def read(self, key: str, parse: Callable[[str], T]) -> T | None:
        """Return what is set as `parse` reads it; None when nothing is.

        Raises `UsageError` that names the variable.
        """
        text = self.text(key)
        try:
            return None if text is None else parse(text)
        except (ValueError, UsageError) as error:
            raise UsageError(f"{variable_of(key)}: {error}") from None

    def flag(self, key: str) -> bool:
        """Say whether something is switched on; raises `UsageError`."""
        return self.read(key, parse_flag) or False
