"""Notice which entries of the catalogue are new, were written again, or are gone."""

from typing import NamedTuple

from shoal.storage.catalogue import Catalogue
from shoal.storage.catalogue_entry import Entry

__all__ = ["CatalogueWatch", "Changes"]


class Changes(NamedTuple):
    """What has changed between two looks."""

    changed: list[tuple[str, Entry]]
    """The names and the entries that are new or were written again, oldest first."""
    gone: list[str]
    """The names of those that were removed."""


class CatalogueWatch:
    """Look at a catalogue from time to time, and read only what has changed."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Know no entry yet, so the first look finds all of them new."""
        self._catalogue = catalogue
        self._known: dict[str, tuple[int, int]] = {}

    def look(self) -> Changes:
        """Return what has changed since the last look; blocks."""
        versions = self._catalogue.versions()
        known = self._known
        changed = [name for name in versions if known.get(name) != versions[name]]
        gone = [name for name in known if name not in versions]
        self._known = versions
        read = ((name, self._catalogue.read(name)) for name in changed)
        entries = [(name, entry) for name, entry in read if entry is not None]
        entries.sort(key=lambda pair: (pair[1].time, pair[1].path))
        return Changes(entries, gone)
