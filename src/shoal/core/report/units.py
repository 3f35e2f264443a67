"""Write numbers for people; pure."""

__all__ = ["format_size"]


def format_size(size: float) -> str:
    """Return a number of bytes in binary units, as `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
