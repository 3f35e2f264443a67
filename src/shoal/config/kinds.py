"""The kinds of values that options take, and how each is written.

The same value may be text (on the command line or in a variable), a value in
`config.toml`, or an object that a Python caller passes. A `Kind` reads all three.
"""

import os
import re
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from shoal.config.schedule import LimitHours, parse_hours
from shoal.core.names.address import Address, parse_address
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.core.names.http_endpoint import HttpEndpoint

__all__ = [
    "ADDRESSES",
    "COLOR",
    "COLORS",
    "COUNT",
    "ENDPOINT",
    "FLAG",
    "NAMES",
    "ORIGINS",
    "PATH",
    "PATTERNS",
    "PORT",
    "RATE",
    "SCHEDULE",
    "SECONDS",
    "SIZE",
    "TEXT",
    "Kind",
]

COLORS = ("auto", "always", "never")
MAX_PORT = 65_535
MAX_COUNT = 65_536  # as many peers are counted
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))
_DIGITS = re.compile(r"[0-9]{1,5}")  # Python refuses to read thousands of them
_SIZE = r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([KMGkmg]?)i?[Bb]?"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TIMES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Kind(NamedTuple):
    """Read the values of an option from text, TOML and Python.

    Each method raises `ValueError` or `UsageError` for a value that is not valid.
    """

    parse: Callable[[str], Any]
    """Read one text; of a list, return the items in the text."""
    toml_types: tuple[type, ...]
    """The types that `config.toml` may use."""
    hint: str
    """What to write in `config.toml`, for error messages."""
    default: Any = None
    """The value where none is set; None leaves the choice to the command."""
    is_list: bool = False
    """Whether the option may be repeated; its value is then a tuple."""
    metavar: str = ""
    """The word for a value in `--help`."""
    check: Callable[[Any], Any] = lambda value: value
    """Check a value as a whole, and return it."""
    types: tuple[type, ...] = (str,)
    """The types that Python callers may pass, for a list as its items."""
    split: Callable[[str], list[str]] = str.split
    """Return the items of a list in a variable."""

    def read_variable(self, text: str) -> Any:
        """Read the text of an environment variable."""
        if self.is_list:
            return self.read(self.split(text))
        return self.check(self.parse(text))

    def read_toml(self, value: Any) -> Any:
        """Read a value of `config.toml`."""
        items = value if isinstance(value, list) else ()
        are_texts = all(isinstance(item, str) for item in items)
        if type(value) not in self.toml_types or not are_texts:
            raise ValueError(self.hint)
        return self.read(value) if self.is_list else self.read_variable(str(value))

    def read(self, value: Any) -> Any:
        """Read what a Python caller passes: text, or the value itself.

        Raises `TypeError` for a value of another type.
        """
        if self.is_list:
            if isinstance(value, self.types):
                items: tuple[Any, ...] = (value,)
            elif isinstance(value, Iterable):
                items = tuple(value)
            else:
                known = f"{self._known}, or a list of such"
                raise TypeError(f"it must be {known}, not {type(value).__name__}")
            for item in items:
                self._check_type(item)
            read = (self.parse(x) if isinstance(x, str) else (x,) for x in items)
            value = tuple(chain.from_iterable(read))
        elif isinstance(value, str) and str in self.types:
            value = self.parse(value)
        elif value is not None:
            self._check_type(value)
        return self.check(value)

    def _check_type(self, value: object) -> None:
        is_flag_as_number = isinstance(value, bool) and bool not in self.types
        if is_flag_as_number or not isinstance(value, self.types):
            raise TypeError(f"it must be {self._known}, not {type(value).__name__}")

    @property
    def _known(self) -> str:
        return " or ".join(each.__name__ for each in self.types)


def _parse_color(text: str) -> str:
    if text not in COLORS:
        raise ValueError(
            f"{text[:40]!r} is not auto, always or never; write one of them."
        )
    return text


def _parse_flag(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{text[:40]!r} is neither yes nor no; write 1 or 0.")


def _parse_count(text: str) -> int | None:
    """Return a number; words for yes and no stand for 1 and for none."""
    word = text.strip().lower()
    if not word or word in _TRUE:
        return 1
    if word in _FALSE - {"0"}:  # 0 would end a share at once, not never
        return None
    if _DIGITS.fullmatch(word) and 1 <= int(word) <= MAX_COUNT:
        return int(word)
    raise ValueError(
        f"{text[:40]!r} is not a number from 1 to {MAX_COUNT:,}; correct it, or leave "
        "the option out."
    )


def _parse_port(text: str) -> int:
    if _DIGITS.fullmatch(text) and int(text) <= MAX_PORT:
        return int(text)
    raise ValueError(f"{text[:40]!r} is not a port; write a number up to {MAX_PORT}.")


def _parse_size(text: str) -> int:
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a size; write bytes, or 64K, 1.5M, 2G.")
    unit = _UNITS[match[2].lower()]
    # Not as a float, which has no room for 15 digits times a unit.
    whole, _, part = match[1].partition(".")
    fraction = int(part or 0) * unit // int("1" + "0" * len(part))
    return int(whole) * unit + fraction


def _parse_rate(text: str) -> int:
    rate = _parse_size(text)
    if not rate:
        raise ValueError("A rate of 0 would never end; leave it out.")
    return rate


def _parse_seconds(text: str) -> float:
    unit = _TIMES.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(
            f"{text[:40]!r} is not a length of time; write seconds, or 10m, 2h, 1d."
        )
    return seconds


def _parse_endpoint(text: str) -> "HttpEndpoint":
    from shoal.core.names.http_endpoint import parse_endpoint

    return parse_endpoint(text)


def _split_words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _split_origins(text: str) -> list[str]:
    from shoal.core.names.origin_url import split_origins

    return split_origins(text)


def _check_origins(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls:
        return urls
    from shoal.core.names.origin_url import WEB, parse_origins

    origins = parse_origins(urls)
    for scheme in {url.partition(":")[0] for url in origins} - WEB:
        _check_scheme(scheme)
    return origins


def _check_scheme(scheme: str) -> None:
    """Raise `UsageError` if fsspec is installed and knows no file system for `scheme`.

    Without fsspec, the origin reports that it needs it.
    """
    try:
        # Importing fsspec registers the file systems of other packages.
        from fsspec.registry import known_implementations, registry
    except ImportError:
        return
    if scheme not in known_implementations and scheme not in registry:
        raise UsageError(
            f"No origin can have a URL that begins with {scheme}://; use https, s3 or "
            "another scheme that fsspec knows."
        )


def _check_positive(number: float | None) -> float | None:
    if number is None or number > 0:
        return number
    raise ValueError(f"{number} is not above 0; leave it out for no limit.")


def _check_port(port: int | None) -> int | None:
    if port is None or 0 <= port <= MAX_PORT:
        return port
    raise ValueError(f"{port} is not a port; write a number up to {MAX_PORT}.")


_NUMBER = ((int, float, str), "write a number, or a text in quotes.")
_LIST = ((str, list), "write a list of texts in quotes.", (), True)
_QUOTED = ((str,), "write a text in quotes.")

FLAG = Kind(
    _parse_flag,
    (bool,),
    "write true or false, without quotes.",
    False,
    types=(bool,),
)
"""Yes or no."""
COUNT = Kind(
    _parse_count,
    (bool, int),
    "write a number, or true or false.",
    metavar="N",
    types=(int, bool, str),
)
"""How many, or yes for one."""
TEXT = Kind(str, *_QUOTED, metavar="TEXT")
"""Any text."""
PATH = Kind(str, *_QUOTED, metavar="PATH", types=(str, os.PathLike))
"""Text that names a file or folder."""
COLOR = Kind(_parse_color, *_QUOTED, default="auto", metavar="WHEN")
"""When to use colours."""
PORT = Kind(
    _parse_port,
    *_NUMBER,
    default=0,
    metavar="PORT",
    check=_check_port,
    types=(int, str),
)
"""A TCP port; 0 is any."""
ENDPOINT = Kind(_parse_endpoint, *_QUOTED, metavar="HOST:PORT")
"""Where an HTTP server listens."""
SIZE = Kind(_parse_size, *_NUMBER, metavar="SIZE", types=(int, str))
"""Bytes, as `512`, `64K` or `2G`."""
RATE = Kind(
    _parse_rate,
    *_NUMBER,
    metavar="RATE",
    check=_check_positive,
    types=(int, float, str),
)
"""Bytes per second, more than none."""
SECONDS = Kind(
    _parse_seconds,
    *_NUMBER,
    metavar="TIME",
    check=_check_positive,
    types=(int, float, str),
)
"""A length of time above 0, as `90`, `10m` or `2h`."""
ADDRESSES = Kind(
    lambda text: map(parse_address, _split_words(text)),
    *_LIST,
    metavar="HOST:PORT",
    types=(str, Address),
)
"""`HOST:PORT`, several separated by commas or spaces."""
NAMES = Kind(_split_words, *_LIST, metavar="NAME")
"""Words, separated by commas or spaces."""
ORIGINS = Kind(
    _split_origins, *_LIST, metavar="URL", check=_check_origins, split=_split_origins
)
"""URLs of origins, separated by spaces."""
SCHEDULE = Kind(
    lambda text: (parse_hours(text, _parse_rate),),
    *_LIST,
    metavar="HOURS",
    types=(str, LimitHours),
)
"""Hours with other rate limits, as `mon-fri,08:00-18:00,up=1M`."""
PATTERNS = Kind(lambda text: (text,), *_LIST, metavar="GLOB")
"""Patterns of paths, separated by spaces in a variable only: they may contain them."""
