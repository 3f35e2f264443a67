"""The folder beside a target in which a download grows.

The staging folder of NAME is `.NAME.shoal-XXXXXXXX`, beside NAME so that the last step
is a rename within one file system. XXXXXXXX is the beginning of the share's identity,
by which the next run finds the folder. It contains `data`, a file or a folder,
`journal`, and `manifest`, which has what is known of the share's manifest. The process
that holds the lock on `journal` owns the folder, and no other process touches its
contents.

The folder of the target is opened once, before the lock. From then on nothing is
opened, made, renamed, flushed or removed by path: another user who owns that folder may
replace it with a link at any moment, but cannot make the download end anywhere else.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from shoal.errors import StoreError, TargetExistsError, UsageError, option, run_again
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.disk.folders import remove_all
from shoal.storage.disk.own_folders import is_own
from shoal.storage.download.journal import Header, Journal, JournalContents, decode
from shoal.storage.download.layout import DATA, SIDE
from shoal.storage.download.manifest_file import MANIFEST, ManifestFile

__all__ = ["JOURNAL", "Staging", "check_new_folder", "suffix_of"]

_LOCK_ATTEMPTS = 100
_MAX_NAME = 200  # bytes of NAME in the folder's name; file systems allow 255 in all
JOURNAL = "journal"
"""The name of the journal in the staging folder."""
_NEW_JOURNAL = "journal.new"


class Staging:
    """The staging folder of one target, owned while its lock is held."""

    def __init__(self, target: Path, identity: bytes, disk: Disk) -> None:
        if not target.name:
            raise UsageError(f"{target} does not end in a file name; add one.")
        name = os.fsdecode(os.fsencode(target.name)[:_MAX_NAME])
        self.manifest_file: ManifestFile | None = None
        """What is known of the manifest; None until `open_manifest`."""
        self.target = target
        """The path of the complete download."""
        self.directory = target.with_name(f".{name}{suffix_of(identity)}")
        """The staging folder."""
        self.identity = identity
        """The 32 bytes that name the share."""
        self._disk = disk
        self._parent: int | None = None  # the target's open folder, while locked
        self._at: int | None = None  # the open folder, while it is locked
        self._lock: int | None = None

    # Ownership.

    def lock(self) -> None:
        """Create the folder if necessary and lock it.

        Raises `StoreError` if another process has locked it, or if there is no folder
        for the target.
        """
        self._parent = self._disk.open_directory(self.target.parent, follow=True)
        if self._parent is None:
            raise _no_folder(self.target.parent)
        try:
            for _ in range(_LOCK_ATTEMPTS):
                if self._lock_in(self._parent):
                    return
            raise self._in_use()
        finally:
            if self._lock is None:
                self.release()

    def _lock_in(self, parent: int) -> bool:
        """Lock the folder in an open folder; return False to try again."""
        name = self.directory.name
        self._disk.make_directory(name, at=parent)
        at = self._disk.open_directory(name, at=parent)
        if at is None:
            return False  # the process that owned it has just finished
        try:
            # Another user may have put it there since `make_directory` looked.
            if not is_own(self._disk, at):
                return False
            self._lock = self._lock_journal(at)
        finally:
            if self._lock is None:
                self._disk.close(at)
        if self._lock is None:
            return False
        self._at = at
        return True

    def _lock_journal(self, at: int) -> int | None:
        """Return the locked journal; None if the folder was removed since."""
        try:
            fd = self._disk.open_write(JOURNAL, at=at)
        except StoreError:
            if not self._is_still(at, self.directory.name, self._parent):
                return None
            raise
        is_ours = False
        try:
            if not self._disk.lock(fd):
                raise self._in_use()
            is_ours = self._is_still(fd, JOURNAL, at) and self._is_still(
                at, self.directory.name, self._parent
            )
        finally:
            if not is_ours:
                self._disk.close(fd)
        return fd if is_ours else None

    def _is_still(self, fd: int, name: str, at: int | None) -> bool:
        """Return True if a name still refers to an open file or folder."""
        found = self._disk.state_at(name, at=at)
        return found is not None and found.is_same_file(self._disk.state(fd))

    def _in_use(self) -> StoreError:
        return StoreError(
            f"Another shoal is already downloading to {self.target}; "
            "wait for it or choose another target."
        )

    def check_target(self, *, overwrite: bool = False, is_folder: bool = False) -> None:
        """Raise `TargetExistsError` or `StoreError` if the target cannot be created.

        With `overwrite` a single file may replace a regular file. `is_folder` is True
        if the share is a folder, which never replaces anything.
        """
        target = self.target
        found = self.target_state()
        if found is None:
            check_folder(target.parent, self._disk)
            return
        if overwrite and found.is_file and not is_folder:
            return
        self.clear_finished()
        if is_folder:
            hint = (
                "a downloaded folder never replaces anything. Remove it or choose "
                "another name."
            )
        elif found.is_directory:
            hint = "a folder is never replaced. Remove it or choose another name."
        elif not found.is_file:
            hint = (
                "it is not a regular file, so it is not replaced. Choose another name."
            )
        else:
            hint = (
                "remove it, choose another name, or ask to overwrite it with "
                f"{option('-f')}."
            )
        raise TargetExistsError(f"{target} already exists; {hint}")

    def target_state(self) -> FileState | None:
        """Return the state of the file or folder with the target's name, if any."""
        if self._parent is None:
            return self._disk.state_at(self.target)
        return self._disk.state_at(self.target.name, at=self._parent)

    def target_acl(self) -> bytes | None:
        """Return the access ACL of the file with the target's name, if it has one."""
        if self._parent is None:
            return self._disk.acl_of(self.target)
        return self._disk.acl_of(self.target.name, at=self._parent)

    def clear_finished(self) -> None:
        """Remove the folder of a run that was killed after it named the target."""
        target = self.target_state()
        if target is None:
            return
        if self._lock is None:
            if self._disk.state_at(self.directory) is None:
                return
            try:
                self.lock()
            except StoreError:
                return  # another process or user owns it
        found = self._disk.state_at(DATA, at=self._at)
        if found is None or found.is_same_file(target):
            self.sync_target()  # as that run would have done
            self.remove()
        else:
            self.release()

    def name_target(self, *, replace: bool) -> None:
        """Rename the data to the target; with `replace`, replace a file there.

        Without it, raises `TargetExistsError` if the target exists. Raises `StoreError`
        if the target's folder is no longer at its path. The name survives a power loss
        only after `sync_target`.
        """
        assert self._parent is not None
        place = self._disk.state_at(self.target.parent, follow=True)
        if place is None or not place.is_same_file(self._disk.state(self._parent)):
            raise StoreError(
                f"Another program moved or replaced {self.target.parent} during the "
                "download, which is kept in the original folder; "
                f"{run_again()} with the path of that folder."
            )
        # Whatever happens to the path from here on, this is the same folder.
        name = self.target.name
        self._disk.rename(DATA, name, at=self._at, to=self._parent, replace=replace)

    def sync_target(self) -> None:
        """Flush the name of the target, or of this folder, in the target's folder."""
        self._disk.fsync_directory(".", at=self._parent)

    def remove(self) -> None:
        """Remove the folder with everything that shoal created in it; idempotent."""
        if self._at is None:
            return
        # The journal goes last: as long as there is data, it says which chunks count.
        for name in (DATA, SIDE, MANIFEST, _NEW_JOURNAL, JOURNAL):
            remove_all(self._disk, name, self._at)
        self._disk.remove_directory(self.directory.name, at=self._parent)
        self.sync_target()
        self.release()

    def release(self) -> None:
        """Unlock the folder and keep it for the next run; idempotent."""
        if self.manifest_file is not None:
            self.manifest_file.close()
            self.manifest_file = None
        if self._lock is not None:
            self._disk.close(self._lock)
            self._lock = None
        if self._at is not None:
            self._disk.close(self._at)
            self._at = None
        if self._parent is not None:
            self._disk.close(self._parent)
            self._parent = None

    # Its contents.

    @property
    def folder(self) -> int:
        """Return the open folder; it must be locked."""
        assert self._at is not None
        return self._at

    def open_manifest(self, share_id: bytes) -> ManifestFile:
        """Open the file for what is known of the manifest; create it if necessary."""
        if self.manifest_file is None:
            self.manifest_file = ManifestFile(self._disk, self.folder, share_id)
        return self.manifest_file

    def abandon(self) -> None:
        """Unlock the folder, and remove it if it contains no chunk; idempotent."""
        if self._lock is not None:
            contents, _ = self.read_journal()
            # Without a valid journal, the data may have chunks that verify.
            is_empty = self._disk.state_at(DATA, at=self._at) is None
            if is_empty or (contents is not None and not contents.indexes):
                self.remove()
        self.release()

    def open_data_folder(self) -> int:
        """Open the folder in which the files of a shared folder grow; create it."""
        found = self._disk.state_at(DATA, at=self._at)
        if found is not None and not found.is_directory:
            remove_all(self._disk, DATA, self.folder)
        self._disk.make_directory(DATA, at=self._at)
        fd = self._disk.open_directory(DATA, at=self._at)
        if fd is None:
            raise StoreError(
                f"Another program removed {self.directory}; {run_again()}."
            )
        return fd

    def read_journal(self) -> tuple[JournalContents | None, int]:
        """Return the contents of the journal and the time of its last write.

        The contents are None if there is no valid journal, the time is in nanoseconds.
        """
        assert self._lock is not None
        state = self._disk.state(self._lock)
        return decode(self._disk.pread(self._lock, state.size, 0)), state.mtime_ns

    def reopen_journal(self) -> Journal | None:
        """Return the journal of an earlier run, to append to; None if it is invalid."""
        assert self._lock is not None
        contents, _ = self.read_journal()
        if contents is None:
            return None
        return Journal.reopen(self._disk, self._lock, contents)

    def begin_journal(self, header: Header, indexes: Sequence[int]) -> Journal:
        """Replace the journal with a new one, locked as well, in one step."""
        self._disk.unlink(_NEW_JOURNAL, at=self._at)
        fd = self._disk.open_write(_NEW_JOURNAL, at=self._at)
        try:
            self._disk.lock(fd)
            journal = Journal.begin(self._disk, fd, header, indexes)
            self._disk.rename(_NEW_JOURNAL, JOURNAL, at=self._at, to=self._at)
            self._disk.fsync_directory(".", at=self._at)
        except BaseException:
            self._disk.close(fd)
            raise
        if self._lock is not None:
            self._disk.close(self._lock)
        self._lock = fd
        return journal


def suffix_of(identity: bytes) -> str:
    """Return how the names of a share's staging folders end."""
    return f".shoal-{identity[:4].hex()}"


def check_folder(folder: Path, disk: Disk) -> None:
    """Raise `StoreError` unless `folder` is a folder or a link to one."""
    found = disk.state_at(folder, follow=True)
    if found is None or not found.is_directory:
        raise _no_folder(folder)


def check_new_folder(folder: Path, disk: Disk) -> None:
    """Raise `StoreError` unless `folder` is a folder or can become one."""
    for each in (folder, *folder.parents):
        found = disk.state_at(each, follow=True)
        if found is not None:
            if not found.is_directory:
                raise StoreError(f"{each} is not a folder; choose another one.")
            return


def _no_folder(folder: Path) -> StoreError:
    return StoreError(f"There is no folder {folder}; create it or choose another one.")
