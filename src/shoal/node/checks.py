"""Read a link in an argument of a call, and refuse another type."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal.core.names.link import Link

__all__ = ["link_of"]


def link_of(link: object) -> "Link":
    """Return the link in an argument; raise `TypeError` or `UsageError`."""
    from shoal.core.names.link import parse_link

    if not isinstance(link, str):
        raise TypeError(f"link must be str or Link, not {type(link).__name__}")
    return parse_link(link)
