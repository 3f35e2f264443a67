"""Attacks of another user of the same machine on a download and on what is kept.

The cases run as root, attack as the user `nobody` and download as root: root obeys no
permissions, so whatever holds for root holds for any victim.
"""

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.core.names.link import parse_link
from shoal.storage.download.staging import suffix_of
from tests.helpers.commands import link_of, peer_of, run, share
from tests.helpers.process import Finished, Program, capture

__all__ = ["OTHER_USER"]

OTHER = 65534  # the user id of the attacker
DATA = b"from the share" * 300_000
PRECIOUS = b"precious"
SLOWLY = 1 << 20  # bytes per second, so that the attack meets a running download

# Puts a link in the place of a folder, and the folder back, as fast as it can.
SWAP = """
import os, sys, time
os.setgid(65534), os.setuid(65534)
folder, moved, elsewhere = sys.argv[1:]
print("ready", flush=True)
while True:
    os.rename(folder, moved)
    os.symlink(elsewhere, folder)
    time.sleep(0.002)
    os.unlink(folder)
    os.rename(moved, folder)
    time.sleep(0.001)
"""


class Scene:
    """A share, and a folder of another user to fetch it to."""

    def __init__(self, root: Path, link: str, peer: str) -> None:
        self.root, self.link, self._peer = root, link, peer
        self.folder, self.elsewhere = root / "theirs", root / "elsewhere"
        self.elsewhere.mkdir()
        (self.elsewhere / "x").write_bytes(PRECIOUS)
        self.folder.mkdir()
        self.folder.chmod(0o777)
        os.chown(self.folder, OTHER, OTHER)
        for each in (root, *root.parents):  # the attacker reaches its own folder
            if each != Path("/tmp") and each != Path("/"):
                each.chmod(each.stat().st_mode | 0o055)

    @property
    def staging(self) -> Path:
        """Return the name of the staging folder, which anyone with the link knows."""
        return self.folder / f".x{suffix_of(parse_link(self.link).identity)}"

    def get(self, *more: object, home: Path | None = None) -> Finished:
        """Fetch the share to the folder of the other user."""
        env = {} if home is None else {"XDG_DATA_HOME": str(home)}
        args = (self.link, "--peer", self._peer, "-C", self.folder, "--timeout", 10)
        with run("get", *args, *more, env=env) as program:
            return program.finish(50)

    @contextmanager
    def getting(self, *more: object) -> Iterator[Program]:
        """Fetch it, and yield once the staging folder is there."""
        for left in self.folder.iterdir():  # of an earlier round
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        args = (self.link, "--peer", self._peer, "-C", self.folder, *more)
        with run("get", *args) as program:
            while not any(self.folder.glob(".x.*")) and program.running:
                time.sleep(0.01)
            yield program

    def check_elsewhere(self) -> None:
        """Nothing has changed where the links of the attacker lead."""
        assert os.listdir(self.elsewhere) == ["x"], os.listdir(self.elsewhere)
        assert (self.elsewhere / "x").read_bytes() == PRECIOUS, "it was overwritten"


@contextmanager
def scene(root: Path, *, folder: bool = False) -> Iterator[Scene]:
    """Share a file, or a folder with one, and make the folder of the other user."""
    source = root / "x"
    if folder:
        source.mkdir()
        (source / "a").write_bytes(DATA)
    else:
        source.write_bytes(DATA)
    with share(source, "--limit-up", SLOWLY) as sharer:
        yield Scene(root, link_of(sharer), peer_of(sharer))


@contextmanager
def swapping(scene: Scene) -> Iterator[None]:
    """Let the attacker move its folder away and back, with a link in its place."""
    folder = scene.folder.parent
    folder.chmod(0o777)  # a folder that both may write to
    moved = folder / "moved"
    argv = [sys.executable, "-c", SWAP, *map(str, (scene.folder, moved))]
    with Program([*argv, str(scene.elsewhere)]) as attacker:
        attacker.wait_line("ready", stream="out")
        yield
        attacker.kill()
    if moved.exists():
        scene.folder.unlink(missing_ok=True)
        moved.rename(scene.folder)


def folder_replaced_by_a_link(root: Path) -> None:
    """Replace the folder during `get -f` of a file that exists where the link leads."""
    with scene(root) as place:
        for _ in range(3):
            with place.getting("-f") as program, swapping(place):
                program.finish(50)
        place.check_elsewhere()


def folder_replaced_at_the_end(root: Path) -> None:
    """Replace the folder by a link once and for all, while `get -f` is running."""
    with scene(root) as place:
        _replace(place, "-f")
        place.check_elsewhere()


def folder_replaced_under_a_folder(root: Path) -> None:
    """Replace the folder while another folder is fetched into it."""
    with scene(root, folder=True) as place:
        (place.elsewhere / "x").unlink()
        _replace(place)
        assert os.listdir(place.elsewhere) == [], os.listdir(place.elsewhere)


def _replace(place: Scene, *more: object) -> None:
    with place.getting(*more) as program:
        place.folder.rename(place.root / "moved")
        place.folder.symlink_to(place.elsewhere)
        ended = program.finish(50)
    assert ended.code != 0, ended
    assert "moved or replaced" in ended.stderr, ended


def staging_folder_taken(root: Path) -> None:
    """Make the staging folder beforehand, with a journal and data in it."""
    with scene(root) as place:
        place.staging.mkdir(0o777)
        for name in ("journal", "data", "manifest"):
            (place.staging / name).write_bytes(b"forged")
        for each in (place.staging, *place.staging.iterdir()):
            os.chown(each, OTHER, OTHER)
        ended = place.get()
        assert ended.code == 4, ended
        assert "not a folder that you own" in ended.stderr, ended
        assert not (place.folder / "x").exists()
        assert (place.staging / "data").read_bytes() == b"forged"


def staging_folder_is_a_link(root: Path) -> None:
    """Put a link to a folder of the victim in the place of the staging folder."""
    with scene(root) as place:
        place.staging.symlink_to(place.elsewhere)
        assert place.get().code == 4
        place.check_elsewhere()


def target_is_a_hard_link(root: Path) -> None:
    """Let the target be a second name of a file of the victim; -f must not write it."""
    with scene(root) as place:
        os.link(place.elsewhere / "x", place.folder / "x")
        assert place.get().code == 6
        assert place.get("-f").code == 0
        assert (place.folder / "x").read_bytes() == DATA
        place.check_elsewhere()


def target_is_a_link(root: Path) -> None:
    """Let the target be a link to a file of the victim."""
    with scene(root) as place:
        (place.folder / "x").symlink_to(place.elsewhere / "x")
        for more in ((), ("-f",), ("--seed-for", "1")):
            assert place.get(*more).code != 0
        place.check_elsewhere()


def catalogue_of_the_attacker(root: Path) -> None:
    """Own the catalogue of the victim: it is neither read nor written."""
    with scene(root) as place:
        home = root / "home"
        kept = home / "shoal" / "catalogue"
        kept.mkdir(parents=True)
        for each in (home, home / "shoal", kept):
            os.chown(each, OTHER, OTHER)
        ended = place.get(home=home)
        assert ended.code == 0, ended
        left = [path for path in home.rglob("*") if path.is_file()]
        assert left == [], left
        with run("list", env={"XDG_DATA_HOME": str(home)}) as program:
            assert "another user owns it" in program.finish().stderr


def secret_of_the_attacker(root: Path) -> None:
    """Know the secret of the victim, and so the salt of whatever it shares."""
    home = root / "home"
    (home / "shoal").mkdir(parents=True)
    (home / "shoal" / "secret").write_bytes(bytes(32))
    os.chown(home / "shoal" / "secret", OTHER, OTHER)
    (root / "x").write_bytes(b"guessed")
    # `share` has a home of its own, unless it is given another.
    with run("share", root / "x", env={"XDG_DATA_HOME": str(home)}) as program:
        program.wait_line("secret belongs to another user", stream="err")
        program.wait_line("Ctrl-C", stream="err")


# Claims that a process serves a share in the background.
CLAIM = """
import fcntl, os, sys, time
os.setgid(65534), os.setuid(65534)
with open(sys.argv[1], "w") as note:
    fcntl.flock(note, fcntl.LOCK_EX)
    print("ready", flush=True)
    time.sleep(60)
"""


def stop_ends_no_other_process(root: Path) -> None:
    """Name a process of the victim as a share in the background, for `shoal stop`."""
    home = root / "home"
    notes = home / "shoal" / "background"
    notes.mkdir(parents=True)
    os.chown(notes, OTHER, OTHER)
    for each in (home / "shoal", home, root, root.parent):
        each.chmod(0o755)
    with Program(["sleep", "60"]) as victim:
        claim = [sys.executable, "-c", CLAIM, str(notes / str(victim.pid))]
        with Program(claim) as attacker:
            attacker.wait_line("ready", stream="out")
            env = {"XDG_DATA_HOME": str(home)}
            with run("stop", victim.pid, env=env) as program:
                ended = program.finish(30)
            assert victim.running, "the process was ended"
            assert ended.code == 4, ended
            attacker.kill()
        victim.kill()


def half_a_download_is_private(root: Path) -> None:
    """Read whatever a running download has put into a folder of the attacker."""
    with scene(root) as place:
        with place.getting() as program:
            (staging,) = place.folder.iterdir()
            for each in (staging, *staging.rglob("*")):
                assert not stat.S_IMODE(each.stat().st_mode) & 0o077, each
            other = [
                "setpriv",
                f"--reuid={OTHER}",
                f"--regid={OTHER}",
                "--clear-groups",
            ]
            seen = capture([*other, "find", str(staging), "-mindepth", "1"])
            assert "Permission denied" in seen.stderr, seen
            assert not seen.stdout, seen
            assert program.finish(50).code == 0


NAMES = ["$(touch pwned)", "`touch pwned`", "; touch pwned", "a\ntouch pwned", "-rf"]
COMPLETE = """
cd "$1"
eval "$($2 -m shoal completion bash)"
shoal() { "$python" -m shoal "$@"; }
for name in *; do
    for last in "$name" "${name:0:1}" ""; do
        COMP_WORDS=(shoal get "$last")
        COMP_CWORD=2
        _shoal_completion shoal "$last" get
    done
done
"""


def names_in_completion(root: Path) -> None:
    """Complete words beside files whose names are commands of a shell."""
    for name in NAMES:
        (root / name).touch()
    assert shutil.which("bash"), "bash is not installed"
    script = f'python="{sys.executable}"\n{COMPLETE}'
    ended = capture(["bash", "-c", script, "x", str(root), sys.executable])
    assert sorted(os.listdir(root)) == sorted(NAMES), (os.listdir(root), ended)
    assert "Traceback" not in ended.stderr, ended


OTHER_USER: dict[str, Callable[[Path], None]] = {
    case.__name__: case
    for case in (
        folder_replaced_by_a_link,
        folder_replaced_under_a_folder,
        folder_replaced_at_the_end,
        staging_folder_taken,
        staging_folder_is_a_link,
        target_is_a_hard_link,
        target_is_a_link,
        catalogue_of_the_attacker,
        secret_of_the_attacker,
        stop_ends_no_other_process,
        half_a_download_is_private,
        names_in_completion,
    )
}
"""All cases by name; each is given an empty folder."""
