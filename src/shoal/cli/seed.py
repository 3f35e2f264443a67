"""`shoal seed`: share again what this user has shared and fetched, and what follows."""

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import Command
from shoal.cli.output import Output, root_fields
from shoal.cli.status import title_of
from shoal.core.report.units import format_count
from shoal.errors import NetworkError, ShoalError

if TYPE_CHECKING:
    from shoal.cli.page import ShowOnPage
    from shoal.node.node import Node
    from shoal.storage.catalogue_entry import Entry
    from shoal.storage.catalogue_watch import Changes
    from shoal.swarm.share import SealedShare

__all__ = ["seed"]

LOOK_PERIOD = 2.0  # seconds between two looks for new entries


@click.command(cls=Command)
def seed(**options: Any) -> Coroutine[None, None, None] | None:
    """Share again, in one process, all that you have shared and downloaded.

    Only copies that are complete and have not changed are shared. No source needs to
    be reachable. Unchanged files that were hashed before are not read again. What you
    share or download later is shared, too, once it is complete and the command that
    shares it has ended; what you forget is no longer shared.

    \b
    shoal seed
    shoal seed --port 4001 --schedule mon-fri,08:00-18:00,up=1M
    shoal seed --install --limit-up 50M
    """
    # Not from a file: the service would install itself in place of sharing.
    if {"install", "uninstall"} & options["given"].keys():
        from shoal.cli.service import install, uninstall

        change = install if "install" in options["given"] else uninstall
        change(Output.from_options(options))
        return None
    options["is_service"] = True
    return _seed(options)


async def _seed(options: dict[str, Any]) -> None:
    from shoal.cli.instructions import say_how_to_get
    from shoal.cli.page import open_page
    from shoal.cli.runner import open_node
    from shoal.cli.service import tell_started
    from shoal.cli.serving import report_until_cancelled

    async with (
        open_node(options, has_line=True) as (node, output),
        open_page(node, output, options) as show,
        asyncio.TaskGroup() as tasks,
    ):
        tell_started()
        seeder = _Seeder(node, output, show, tasks)
        await seeder.look()
        if seeder.shares:
            what = format_count(len(seeder.shares), "share")
            port = seeder.shares[0].port
            output.say(f"Sharing {what} on port {port}; press Ctrl-C to stop.")
            say_how_to_get(node, output, seeder.shares)
        elif seeder.is_waiting:
            output.say(
                "Other shoal commands are sharing all complete copies; this one "
                "shares them when those end. Press Ctrl-C to stop."
            )
        else:
            output.say(
                "There is no complete copy to share yet; this command also shares what "
                "you share or download from now on. Press Ctrl-C to stop."
            )
        reports = report_until_cancelled(
            node, output, seeder.shares, link_of=lambda share: str(share.link)
        )
        tasks.create_task(reports)
        while True:
            await asyncio.sleep(LOOK_PERIOD)
            before = set(map(id, seeder.shares))
            await seeder.look()
            new = [share for share in seeder.shares if id(share) not in before]
            say_how_to_get(node, output, new)


class _Seeder:
    """Share what is in the catalogue, which other processes change meanwhile."""

    def __init__(
        self,
        node: "Node",
        output: "Output",
        show: "ShowOnPage",
        tasks: asyncio.TaskGroup,
    ) -> None:
        from shoal.storage.catalogue import Catalogue
        from shoal.storage.catalogue_watch import CatalogueWatch
        from shoal.storage.disk.disk import Disk
        from shoal.storage.home import user_home

        self.shares: list[SealedShare] = []
        """What is shared now."""
        self._node = node
        self._output = output
        self._show = show
        self._tasks = tasks
        self._disk = Disk()
        self._catalogue = Catalogue.of_home(user_home(), self._disk)
        self._watch = CatalogueWatch(self._catalogue)
        self._by_entry: dict[str, SealedShare] = {}  # by the name of the entry
        self._elsewhere: dict[str, Entry] = {}  # shared by other processes

    async def look(self) -> None:
        """Share entries that are new, and leave shares whose entries are gone."""
        found, taken = await asyncio.to_thread(self._find)
        for name in found.gone:
            if name in self._by_entry:
                await self._leave(self._by_entry.pop(name))
        for name, entry in taken:
            await self._take(name, entry)
        for problem in self._catalogue.problems:
            self._output.problem(problem)

    def _find(self) -> "tuple[Changes, list[tuple[str, Entry]]]":
        """Return what has changed, and the entries to share now; blocks.

        An entry that another process shares comes later: one machine need not serve it
        twice, and `share --once` would count this process as a receiver.
        """
        found = self._watch.look()
        possible = self._elsewhere | dict(found.changed)
        for name in (*found.gone, *self._by_entry):
            possible.pop(name, None)
        is_served = self._catalogue.is_served(possible.values())
        pairs = list(zip(possible.items(), is_served, strict=True))
        self._elsewhere = {name: entry for (name, entry), served in pairs if served}
        return found, [pair for pair, served in pairs if not served]

    @property
    def is_waiting(self) -> bool:
        """Return True if another process shares what this one would share."""
        return bool(self._elsewhere)

    async def _take(self, name: str, entry: "Entry") -> None:
        """Share an entry, if it is complete and not shared yet; report an error."""
        from shoal.cli.progress import Reporter
        from shoal.swarm.copies import is_there

        if entry.made.is_forgotten or not is_there(entry, self._disk):
            return
        if name in self._by_entry:
            return  # written again by another process that shares it
        title = title_of(entry.manifest.root.name, entry.parts)
        output = self._output.about(link=str(entry.link))
        output.line = self._output.line
        try:
            with Reporter(output, title) as reporter:
                share = await self._node.seed(entry, on_progress=reporter.on_event)
        except NetworkError:
            raise  # the port: no other copy can be shared either
        except ShoalError as error:
            self._output.problem(str(error))  # several entries may have one path
            return
        self._by_entry[name] = share
        self.shares.append(share)
        self._tasks.create_task(share.until_left())
        self._show(entry.link)
        root = entry.manifest.root
        self._output.result(
            title_of(str(entry.path), entry.parts),
            event="start",
            link=str(entry.link),
            path=str(entry.path),
            port=share.port,
            **root_fields(root),
            verified=True,
        )

    async def _leave(self, share: "SealedShare") -> None:
        self.shares.remove(share)
        root = share.manifest.root
        await share.leave()
        self._output.say(f"{root.name} is no longer in the list, and not shared.")
        self._output.event("unlisted", link=str(share.link), name=root.name)
