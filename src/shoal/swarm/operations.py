"""Share and verify sealed shares on a node; `fetch` has the fetching.

Each function uses the `Registry` of a node. A share that stays in its swarm after the
call ends with the node.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from shoal.config.arguments import ShareOptions
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.names.link import MAX_RELAYS, Link
from shoal.core.report.events import Hashing, Notice, ShareEvent
from shoal.errors import UnfinishedError, UsageError, option, told
from shoal.origin.readers import check_answers, check_origin, why_unused
from shoal.resources import Resources
from shoal.storage.catalogue_entry import Entry
from shoal.storage.home import user_home
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.shared.spool import spool
from shoal.swarm.build_share import (
    Built,
    Given,
    build_share,
    build_spooled,
    check_pipe,
    first_file,
    how_made,
)
from shoal.swarm.copies import Comparison, compare_target, is_there, open_verified
from shoal.swarm.member import Member, Registry
from shoal.swarm.share import SealedShare, serve_share

__all__ = [
    "compare_sealed",
    "link_sealed",
    "seed_entry",
    "share_sealed",
]

HASHING_PERIOD = 0.1  # seconds between two reports of how far hashing is


async def share_sealed(
    registry: Registry,
    given: Given | BinaryIO,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
) -> SealedShare:
    """Hash what is given and serve it from now on; read a stream to its end first.

    Raises `VerificationError` if one of the origins has other bytes, `ShoalError` if
    the node closes meanwhile.
    """
    resources = registry.resources
    async with resources.call():
        # What fails here fails before anything is hashed.
        _check_relays(resources.settings.relays)
        (await registry.port()).check_room()
        whole = given if isinstance(given, Given) else None
        await _check_origins(resources, whole, options, on_progress)
        copies: list[Entry] = []
        built = await _build(resources, given, options, on_progress, copies)
        manifest, source = built
        link = _link_of(manifest, options, copies, resources.settings.relays)
        try:
            for url in options.origins:
                await check_origin(url, manifest, resources.settings)
        except BaseException:
            source.close()
            raise
        share = await serve_share(registry, link, manifest, source, on_progress)
        if not isinstance(given, Given):
            return share  # it ends with this process
        # Noted before it is listed: `shoal seed` leaves it to this process.
        await registry.note_served(link.id, given.place)
        if manifest.id not in (each.link.id for each in copies):
            made = how_made(given, options)
            await registry.remember(link, given.place, manifest, made)
        return share


async def link_sealed(
    registry: Registry,
    given: Given,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
) -> tuple[Link, Manifest]:
    """Hash what is given; return the link that sharing it would have."""
    resources = registry.resources
    async with resources.call():
        _check_relays(resources.settings.relays)
        copies: list[Entry] = []
        manifest, source = await _build(resources, given, options, on_progress, copies)
        await resources.in_thread(source.close)
        relays = resources.settings.relays
        return _link_of(manifest, options, copies, relays), manifest


def _check_relays(relays: tuple[Address, ...]) -> None:
    """Raise `UsageError` if a link cannot name all of these relays."""
    if len(relays) > MAX_RELAYS:
        raise UsageError(
            f"A link names at most {MAX_RELAYS} relays, and {option('--relay')} names "
            f"{len(relays)}; remove some."
        )


def _link_of(
    manifest: Manifest,
    options: ShareOptions,
    copies: list[Entry],
    relays: tuple[Address, ...],
) -> Link:
    link = Link(manifest.id, origins=options.origins, relays=relays)
    if options.origins or relays:
        return link
    # With the addresses that it had.
    return next((each.link for each in copies if each.link.id == link.id), link)


async def _check_origins(
    resources: Resources,
    given: Given | None,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
) -> None:
    """Check that each origin answers and has the first file, in its size.

    Tell the user of one that receivers will not use.
    """
    if options.origins:
        first = None
        if given is not None:
            first = await resources.in_thread(
                partial(first_file, given, options, resources.disk)
            )
        for url in options.origins:
            if first is not None:
                await check_answers(url, first, resources.settings)
            unused = await why_unused(url, resources.settings)
            if unused is not None:
                on_progress(Notice(unused))


async def seed_entry(
    registry: Registry,
    entry: Entry,
    on_event: Callable[[ShareEvent], None] = lambda event: None,
) -> SealedShare:
    """Verify a copy in the catalogue and serve it from now on.

    An entry may be that of a download whose process was killed just after the copy got
    its name. Raises `VerificationError` if the copy is not the share any more,
    `UnfinishedError` if there is none yet.
    """
    resources = registry.resources
    if not is_there(entry, resources.disk):
        raise UnfinishedError(
            f"{entry.path} was not fetched completely; "
            f"{told('run shoal get again', 'fetch it again')}."
        )
    async with resources.call():
        source = await resources.in_stoppable_thread(
            partial(open_verified, entry, resources.disk, resources.home),
            SharedFiles.close,
            is_hashing=True,
        )
        share = await serve_share(
            registry, entry.link, entry.manifest, source, on_event
        )
        await registry.note_served(entry.link.id, entry.path)
        return share


async def _build(
    resources: Resources,
    given: Given | BinaryIO,
    options: ShareOptions,
    on_progress: Callable[[ShareEvent], None],
    copies: list[Entry],
) -> Built:
    """Hash what is given.

    `copies` gets the earlier shares at its path whose link it has again if it is still
    the same: those that were fetched, and those with a link that replaced an older one.
    """
    loop = asyncio.get_running_loop()
    on_hashed = _on_loop(loop, on_progress)

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(resources.on_notice, Notice(text))

    def build(stopped: Callable[[], bool]) -> Built:
        disk, home = resources.disk, resources.home
        if not isinstance(given, Given):
            check_pipe(options)
            home = home or user_home()
            spooled = spool(given, home, disk, lambda done: on_hashed(done, 0), stopped)
            return build_spooled(spooled, options, disk=disk, home=home, warn=warn)
        if resources.catalogue is not None:
            made, found = how_made(given, options), resources.catalogue.at(given.place)
            found = [each for each in found if each.keeps_link(made)]
            # The newest one, as an older link may be known to too many.
            copies.extend(sorted(found, key=lambda each: each.time, reverse=True))
        return build_share(
            given,
            options,
            disk=disk,
            home=home,
            on_hashed=on_hashed,
            stopped=stopped,
            warn=warn,
            earlier=[copy.manifest for copy in copies],
        )

    return await resources.in_stoppable_thread(
        build, lambda b: b.source.close(), is_hashing=True
    )


async def _load_all(registry: Registry, link: Link, timeout: float | None) -> Manifest:
    """Return the whole manifest of a share, from its peers."""
    port = await registry.port()
    async with Member(registry, link, port, timeout=timeout, yields=True) as member:
        return await member.swarm.load(Manifest.missing)


async def compare_sealed(
    registry: Registry,
    link: Link,
    path: Path,
    timeout: float | None,
    *,
    follows_links: bool,
) -> Comparison:
    """Compare the file or folder at `path` with a share, file by file."""
    resources = registry.resources
    async with resources.call():
        manifest = await registry.remembered(link.id, Manifest.missing)
        if manifest is None:
            manifest = await _load_all(registry, link, timeout)
        return await resources.in_stoppable_thread(
            partial(compare_target, path, manifest, resources.disk, follows_links),
            lambda done: None,
        )


def _on_loop(
    loop: asyncio.AbstractEventLoop, on_progress: Callable[[ShareEvent], None]
) -> Callable[[int, int], None]:
    """Return a function that reports, from a thread, how many bytes are hashed."""
    reported = 0.0

    def on_hashed(done: int, size: int) -> None:
        nonlocal reported
        now = loop.time()
        if done == size or now - reported >= HASHING_PERIOD:
            reported = now
            loop.call_soon_threadsafe(on_progress, Hashing(done, size))

    return on_hashed
