"""Read `config.toml`, which sets values of options.

An invalid file is an error that names the key: to use only the rest of the file would
surprise its author.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from shoal.config.nearest import nearest
from shoal.config.options import OPTIONS
from shoal.core.report.units import format_size
from shoal.errors import ForbiddenError, UsageError

__all__ = ["File", "config_path", "read_file", "read_value"]

MAX_SIZE = 1 << 20  # bytes of a file that is read

File: TypeAlias = Mapping[str, Any]
"""The values that a file sets, by key."""


def config_path(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the file: `SHOAL_CONFIG`, or one in the user's folder."""
    named = environ.get("SHOAL_CONFIG")
    if named:
        return named
    if sys.platform == "linux":
        # The same path as platformdirs returns, without the time to import that.
        home = environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
        return os.path.join(os.path.expanduser(home), "shoal", "config.toml")
    else:
        from platformdirs import user_config_path

        return str(user_config_path("shoal", appauthor=False) / "config.toml")


def read_file(environ: Mapping[str, str] = os.environ) -> File:
    """Return the values that `config.toml` sets; none if there is no such file.

    Raises `UsageError` for an invalid file, or if `SHOAL_CONFIG` names a file that
    does not exist, and `ForbiddenError` for a file that we may not read.
    """
    path = config_path(environ)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        if environ.get("SHOAL_CONFIG"):
            raise UsageError(
                f"There is no file {path}; create it, or correct SHOAL_CONFIG."
            ) from None
        return {}
    except OSError as error:
        reason = error.strerror
        raise ForbiddenError(
            f"{path} cannot be read ({reason}); change its permissions, or set "
            "SHOAL_CONFIG."
        ) from None
    return dict(_read(path, data))


def _read(path: str, data: bytes) -> Iterator[tuple[str, Any]]:
    import tomllib

    try:
        if len(data) > MAX_SIZE:
            raise ValueError(f"it is larger than {format_size(MAX_SIZE)}")
        values = tomllib.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}; correct it.") from None
    except RecursionError:
        raise UsageError(f"{path} is nested too deeply; correct it.") from None
    options = {option.name: option for option in OPTIONS}
    for key, value in values.items():
        if key not in options:
            near = nearest(key.replace("_", "-"), options, "; leave it out.")
            raise UsageError(f"{path}: there is no key {key[:40]!r}{near}")
        yield key, read_value(options[key].kind.read_toml, value, f"{path}: {key}")


def read_value(read: Callable[[Any], Any], value: Any, place: str) -> Any:
    """Read a value; raises `UsageError` that names the place where it is set."""
    try:
        return read(value)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{place}: {error}") from None
    except TypeError as error:
        raise TypeError(f"{place}: {error}") from None
