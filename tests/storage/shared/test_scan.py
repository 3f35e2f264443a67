"""The scan of a shared folder lists regular files and nothing harmful."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.errors import ShoalError, StoreError, UsageError
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.file_state import FileState
from shoal.storage.shared.scan import scan_folder
from shoal.storage.shared.scanned import ScannedFiles, ScannedFolder
from tests.helpers.requirements import require
from tests.storage.download.test_file_osdisk import lines


def make(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


def paths(folder: ScannedFolder) -> list[str]:
    return [file.path for file in folder.files]


def test_files_are_sorted_by_the_bytes_of_their_paths(tmp_path: Path) -> None:
    names = ["a/b", "a.b", "a-b", "a/b0", "ü", "z", "A", "漢/é", "😀", "\uffee", ".x"]
    tree = scan_folder(make(tmp_path / "top", *names), disk=Disk())
    assert tree.name == "top"
    assert paths(tree) == sorted(names, key=lambda name: name.encode())
    assert tree.size == sum(len(name.encode()) for name in names)
    for file in tree.files:
        assert Path(file.location).read_text() == file.path
        assert file.size == len(file.path.encode())


def test_a_file_is_executable_if_its_owner_may_execute_it(tmp_path: Path) -> None:
    make(tmp_path, "a", "b", "c")
    (tmp_path / "a").chmod(0o744)
    (tmp_path / "b").chmod(0o655)
    tree = scan_folder(tmp_path, disk=Disk())
    assert [each.executable for each in tree.files] == [True, False, False]


def test_links_and_special_files_are_skipped_with_a_warning(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", "secret")
    top = make(tmp_path / "top", "file")
    (top / "folder").symlink_to(outside)
    (top / "link").symlink_to(outside / "secret")
    (top / "broken").symlink_to("nowhere")
    (top / "bad\x1b[2J").symlink_to("nowhere")
    os.mkfifo(top / "fifo")
    (top / "empty").mkdir()
    warnings: list[str] = []
    tree = scan_folder(top, disk=Disk(), warn=warnings.append, exclude=["broken"])
    assert paths(tree) == ["file"]
    assert sorted(warnings) == [
        "'bad\\x1b[2J' is a link and is not shared.",
        "'fifo' is neither a file nor a folder and is not shared.",
        "'folder' is a link and is not shared.",
        "'link' is a link and is not shared.",
    ]


def test_the_folder_itself_may_be_a_link_or_a_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "top", "file")
    (tmp_path / "link").symlink_to("top")
    assert scan_folder(tmp_path / "link", disk=Disk()).name == "link"
    monkeypatch.chdir(tmp_path / "top")
    assert scan_folder(Path("."), disk=Disk()).name == "top"
    with pytest.raises(UsageError, match="no name"):
        scan_folder(Path("/"), disk=Disk())


def test_patterns_select_files_and_excluded_folders_are_not_opened(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a.txt", "b.md", "d/c.txt", "d/e/f.txt", "g/h.txt")
    looked: list[str] = []

    class Watched(Disk):
        def open_directory(
            self, path: Path | str, *, at: int | None = None, follow: bool = False
        ) -> int | None:
            looked.append(os.path.basename(path))
            return super().open_directory(path, at=at, follow=follow)

    tree = scan_folder(tmp_path, disk=Watched(), include=["**/*.txt"], exclude=["d/e"])
    assert paths(tree) == ["a.txt", "d/c.txt", "g/h.txt"]
    assert "e" not in looked
    assert "g" in looked


def test_the_error_names_the_path_that_cannot_be_shared(tmp_path: Path) -> None:
    make(tmp_path, "good", "d/CON")

    def find(paths: Sequence[str]) -> tuple[str, str] | None:
        bad = [path for path in paths if "CON" in path]
        return (bad[0], "that name is reserved") if bad else None

    with pytest.raises(UsageError, match="cannot be shared: 'd/CON' that name is res"):
        scan_folder(tmp_path, disk=Disk(), find_problem=find)
    tree = scan_folder(tmp_path, disk=Disk(), find_problem=find, exclude=["d/CON"])
    assert paths(tree) == ["good"]
    os.close(os.open(os.fsencode(tmp_path) + b"/bad\xff", os.O_CREAT))
    with pytest.raises(UsageError, match=r"'bad\\udcff' is not valid UTF-8"):
        scan_folder(tmp_path, disk=Disk())


def test_ten_of_the_names_that_cannot_be_shared_are_named(tmp_path: Path) -> None:
    make(tmp_path, *(f"bad{number:02}" for number in range(12)))

    with pytest.raises(UsageError) as caught:
        scan_folder(tmp_path, disk=Disk(), find_problem=lambda p: (p[0], "is bad"))
    text = str(caught.value)
    assert text.startswith("12 files cannot be shared: 'bad")
    assert text.count("is bad;") == 10
    assert text.endswith("; and 2 more. Rename or exclude them.")


def test_a_folder_that_cannot_be_shared_is_an_error(tmp_path: Path) -> None:
    disk = Disk()
    with pytest.raises(ShoalError, match="There is no folder"):
        scan_folder(tmp_path / "missing", disk=disk)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        scan_folder(tmp_path / "file", disk=disk)
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    with pytest.raises(UsageError, match="a share has at least one"):
        scan_folder(tmp_path / "empty", disk=disk)
    make(tmp_path / "many", "a", "b", "c")
    with pytest.raises(UsageError, match="check include and exclude"):
        scan_folder(tmp_path / "many", disk=disk, include=["d"])
    with pytest.raises(UsageError, match="more than 2 files"):
        scan_folder(tmp_path / "many", disk=disk, max_files=2)
    before = len(os.listdir("/proc/self/fd"))
    scan_folder(tmp_path / "many", disk=disk)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_without_read_permission_is_forbidden(tmp_path: Path) -> None:
    """The scan runs as another user, because root may read everything."""
    tmp_path.chmod(0o755)
    make(tmp_path, "file", "closed/file")
    (tmp_path / "closed").chmod(0)
    script = (
        "import os, sys; from pathlib import Path\n"
        "from shoal.storage.shared.scan import scan_folder\n"
        "from shoal.storage.disk.disk import Disk\n"
        "os.setuid(65534)\n"
        "exclude = sys.argv[2:]\n"
        "try: print(len(scan_folder(Path(sys.argv[1]), disk=Disk(), "
        "exclude=exclude).files))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    require(None if os.geteuid() == 0 else "needs root to become another user")
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)

    def run(*exclude: str) -> str:
        command = [sys_executable(), "-c", script, str(tmp_path), *exclude]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        return lines(process)[0]

    assert run().startswith("ForbiddenError")
    assert "closed" in run()
    assert run("closed") == "1"


def sys_executable() -> str:
    import sys

    return sys.executable


@pytest.mark.parametrize("what", ["removed", "replaced", "link"])
def test_a_folder_replaced_during_the_scan_is_refused(
    tmp_path: Path, what: str
) -> None:
    outside = make(tmp_path / "outside", "secret")
    top = make(tmp_path / "top", "d/file")

    def swap() -> None:
        (top / "d").rename(tmp_path / "aside")
        if what == "link":
            (top / "d").symlink_to(outside)
        elif what == "replaced":
            outside.rename(top / "d")

    with pytest.raises(StoreError):
        scan_folder(top, disk=_swapping(swap))


def _swapping(swap: Callable[[], None]) -> Disk:
    class Swapping(Disk):
        def list_directory(self, fd: int) -> list[str]:
            names = super().list_directory(fd)
            if "d" in names:
                os.stat("d", dir_fd=fd)
                self.is_listed = True
            return names

        def open_directory(
            self, path: Path | str, *, at: int | None = None, follow: bool = False
        ) -> int | None:
            if getattr(self, "is_listed", False):
                swap()
            return super().open_directory(path, at=at, follow=follow)

    return Swapping()


names = st.text("a-0é", min_size=1, max_size=2)
found_paths = st.sets(st.lists(names, min_size=1, max_size=4).map("/".join), min_size=1)


@settings(deadline=None)  # it makes folders on the disk
@given(found_paths)
def test_any_folders_are_listed_in_the_order_of_the_bytes_of_all_paths(
    found: set[str],
) -> None:
    """Where a path is a folder of another one, the shorter one is left out."""
    expected = [
        path for path in found if not any(p.startswith(path + "/") for p in found)
    ]
    with TemporaryDirectory() as folder:
        tree = scan_folder(make(Path(folder) / "top", *expected), disk=Disk())
    assert paths(tree) == sorted(expected, key=str.encode)
    assert [path for path, _, _ in tree.files.entries()] == paths(tree)
    for place, file in enumerate(tree.files):
        assert tree.files.paths(place, place + 1) == [file.path]
        assert tree.files.states(place, place + 1) == [file.state]
        assert file.size == len(file.path.encode())


def test_more_names_than_are_examined_together_are_all_listed(tmp_path: Path) -> None:
    expected = sorted(f"{number}" for number in range(2500))
    for path in expected:
        (tmp_path / path).touch()
    (tmp_path / "12345x").mkdir()
    make(tmp_path, "12345x/inside")
    tree = scan_folder(tmp_path, disk=Disk())
    assert paths(tree) == sorted([*expected, "12345x/inside"])


def test_states_with_inodes_of_64_bits_are_kept() -> None:
    files = ScannedFiles("/top")
    large = FileState(1, (1 << 64) - 5, 3, -1, 1, 0o100644, 0, 7)
    small = large._replace(inode=5)
    files.extend(["a", "b"], [large, small])
    files.add("c", large)
    assert files.states(0, 3) == [large, small, large]
    assert [file.state for file in files] == [large, small, large]
    assert [state for _, _, state in files.whole([2, 1], are_compared=True)] == [
        large,
        small,
    ]
