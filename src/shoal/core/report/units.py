"""Write numbers for people; pure."""

__all__ = ["format_count", "format_size", "format_time"]


def format_size(size: float) -> str:
    """Return a number of bytes in binary units, as `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_time(seconds: float) -> str:
    """Return a length of time in its largest two units, as `3 min 20 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def format_count(number: int, noun: str) -> str:
    """Return a number and its noun in the plural, except for one: `3 peers`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
