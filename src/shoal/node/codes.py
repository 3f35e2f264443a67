"""Share and fetch by code, for `Node`: what the packages for each do together."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from shoal.core.checks import check_type
from shoal.core.names.code_words import looks_like_code
from shoal.core.names.link_text import looks_like_link
from shoal.core.report.events import DownloadEvent, ShareEvent
from shoal.node.checks import link_of

if TYPE_CHECKING:
    from shoal.config.arguments import FetchOptions, ShareOptions
    from shoal.core.names.link import Link
    from shoal.swarm.fetch import FetchResult
    from shoal.swarm.member import Registry
    from shoal.swarm.share import SealedShare

__all__ = ["fetch_by", "offer", "redeem"]


async def offer(
    registry: "Registry",
    share: "SealedShare",
    options: "ShareOptions",
    on_event: Callable[[ShareEvent], None],
) -> None:
    """Give a share the code that its options ask for; leave the share if that fails."""
    from shoal.codes.offer import offer_code

    try:
        code = offer_code(
            registry.resources,
            await registry.port(),
            str(share.link),
            receivers=options.receivers,
            seconds=options.code_for,
            on_event=on_event,
            until_left=share.until_left,
        )
    except BaseException:
        await share.leave()
        raise
    share.code = str(code)


async def redeem(registry: "Registry", text: str, timeout: float | None) -> "Link":
    """Return the link that a code stands for; raises as `Node.redeem` does."""
    from shoal.codes.redeem import redeem_code
    from shoal.core.names.code import parse_code

    check_type("code", text, str)
    code = parse_code(text)
    return await redeem_code(registry.resources, await registry.port(), code, timeout)


def fetch_by(
    registry: "Registry",
    text: object,
    options: "FetchOptions",
    timeout: float | None,
) -> "Callable[[Callable[[DownloadEvent], None]], Coroutine[Any, Any, FetchResult]]":
    """Return a function that fetches a share by its link or code.

    Raises `TypeError` or `UsageError` at once if `text` is neither.
    """
    from shoal.core.names.code import parse_code
    from shoal.swarm.fetch import fetch_sealed

    code = None
    if isinstance(text, str) and not looks_like_link(text) and looks_like_code(text):
        code = str(parse_code(text))
    share = link_of(text) if code is None else None

    async def fetch(on_event: Callable[[DownloadEvent], None]) -> "FetchResult":
        link = share or await redeem(registry, code or "", timeout)
        return await fetch_sealed(registry, link, options, timeout, on_event)

    return fetch
