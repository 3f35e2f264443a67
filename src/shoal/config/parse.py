"""How the values of options are written: sizes, rates, times, addresses, yes and no.

The command line, the variables and `config.toml` all read them here.
"""

import re

from shoal.core.names.address import Address, parse_address

__all__ = [
    "parse_addresses",
    "parse_flag",
    "parse_port",
    "parse_rate",
    "parse_seconds",
    "parse_size",
    "split_words",
]

_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off"))
_SIZE = r"([0-9]{1,15})([KMGkmg]?)i?[Bb]?"
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TIMES = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read several `HOST:PORT`, separated by commas or spaces."""
    return tuple(parse_address(word) for word in split_words(text))


def parse_flag(text: str) -> bool:
    """Read a word that says yes or no; raises `ValueError`."""
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{text[:40]!r} is neither yes nor no; write 1 or 0.")


def parse_port(text: str) -> int:
    """Read the number of a TCP port, 0 for any; raises `ValueError`."""
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise ValueError(f"{text[:40]!r} is not a port; write a number up to 65535.")


def parse_size(text: str) -> int:
    """Read bytes, as `512`, `64K` or `2G`; raises `ValueError`."""
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a size; write bytes, or 64K, 1M, 2G.")
    return int(match[1]) * _UNITS[match[2].lower()]


def parse_rate(text: str) -> int:
    """Read bytes per second, more than none; raises `ValueError`."""
    rate = parse_size(text)
    if not rate:
        raise ValueError("A rate of 0 would never end; leave it out.")
    return rate


def parse_seconds(text: str) -> float:
    """Read a length of time above 0, as `90`, `10m` or `2h`; raises `ValueError`."""
    unit = _TIMES.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text[:40]!r} is not a number of seconds above 0.")
    return seconds


def split_words(text: str) -> list[str]:
    """Split at commas and white space."""
    return text.replace(",", " ").split()
