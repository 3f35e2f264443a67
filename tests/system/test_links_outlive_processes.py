"""A link keeps working when every process that knew its share has ended.

Each node has a home of its own, as if it were another machine.
"""

import json
import random
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.core.report.units import format_size
from shoal.storage.download.journal import decode
from tests.conftest import MakeFile
from tests.helpers.commands import LOOPBACK, link_of, peer_of, run
from tests.helpers.folders import list_folder, make_folder
from tests.helpers.lan import machines_on_a_lan
from tests.helpers.netns import Namespace
from tests.helpers.process import Finished, Program
from tests.helpers.programs import shoal
from tests.helpers.web_origin import web_origin_beside

NODES = 6
CHUNK = 65_536
ON_THE_LAN = {"SHOAL_LAN_ONLY": "1"}


class Machine:
    """Run shoal as one user of one machine."""

    def __init__(self, folder: Path, ns: Namespace | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        self.copy = folder / "copy"
        self._ns = ns
        place = LOOPBACK if ns is None else ON_THE_LAN
        self._env = {**place, "XDG_DATA_HOME": str(folder / "home")}

    def start(self, *args: object) -> Program:
        """Start a command."""
        return shoal(*args, ns=self._ns, env=self._env)

    def finish(self, *args: object) -> Finished:
        """Run a command to its end."""
        with self.start(*args) as program:
            return program.finish()

    def get(self, link: str, *args: object) -> Program:
        """Start to download, and to seed."""
        return self.start("get", link, "-o", self.copy, "--seed", "--json", *args)

    @property
    def chunks(self) -> set[int]:
        """Return the chunks in the journal of its unfinished download."""
        for path in self.folder.glob(".copy.shoal-*/journal"):
            contents = decode(path.read_bytes())
            if contents is not None:
                return set(contents.indexes)
        return set()


def share(machine: Machine, path: Path, *args: object) -> tuple[Program, str, str]:
    """Share a path; return the program, the link and the address."""
    program = machine.start("share", path, *args)
    program.wait_line("Ctrl-C", stream="err")
    return program, link_of(program), peer_of(program)


def get_copy(machine: Machine, path: Path, *args: object) -> tuple[str, int]:
    """Fetch a copy from a source that then leaves; return its link and size."""
    source = Machine(machine.folder.parent / "source-machine")
    program, link, peer = share(source, path, "--chunk-size", CHUNK)
    with program:
        ended = machine.finish("get", link, "-o", machine.copy, "--peer", peer, *args)
        assert ended.code == 0, ended.stderr
        program.kill()
    return link, path.stat().st_size


def test_a_copy_is_served_again_after_a_restart_without_its_source(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(20 * CHUNK, 1)
    first, second = Machine(tmp_path / "first"), Machine(tmp_path / "second")
    link, _ = get_copy(first, path)
    with first.get(link) as program:
        program.wait_line('"event":"complete"', stream="out")
        program.kill()
    with first.start("get", link, "-o", first.copy, "--seed") as program:
        peer = peer_of(program)
        assert second.finish("get", link, "-o", second.copy, "--peer", peer).code == 0
    assert second.copy.read_bytes() == path.read_bytes()


def test_a_known_share_is_described_verified_and_read_without_a_peer(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(20 * CHUNK, 2)
    machine = Machine(tmp_path / "machine")
    link, size = get_copy(machine, path)
    described = machine.finish("info", link).stdout.decode()
    assert f"size        {format_size(size)}\n" in described
    assert machine.finish("ls", link).stdout.split()[0] == str(size).encode()
    assert machine.finish("verify", link, machine.copy).code == 0
    content = path.read_bytes()
    assert machine.finish("cat", link).stdout == content
    assert machine.finish("get", link, "-o", "-").stdout == content
    assert machine.finish("chunk", link, 3).stdout == content[3 * CHUNK : 4 * CHUNK]
    machine.copy.write_bytes(b"other")
    assert machine.finish("verify", link, machine.copy).code == 5


def test_sharing_a_copy_again_prints_the_same_link(
    make_file: MakeFile, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine")
    link, _ = get_copy(machine, make_file(20 * CHUNK, 3))
    program, again, _ = share(machine, machine.copy)
    with program:
        assert again == link


def begin_and_kill(machine: Machine, path: Path, is_enough: Callable[[], bool]) -> str:
    """Download a file until `is_enough`, then kill both programs; return the link."""
    slow = ("--chunk-size", CHUNK, "--limit-up", "400K")
    program, link, peer = share(Machine(machine.folder.parent / "source"), path, *slow)
    with program, machine.get(link, "--peer", peer) as getting:
        while not is_enough():
            time.sleep(0.02)
        getting.kill()
        program.kill()
    return link


def test_an_unfinished_download_resumes_from_an_origin_after_kill_9(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(40 * CHUNK, 4)
    machine = Machine(tmp_path / "machine")
    link = begin_and_kill(machine, path, lambda: len(machine.chunks) >= 3)
    with web_origin_beside({"data": path.read_bytes()}) as web:
        words = ("get", link, "-o", machine.copy, "--origin", f"{web.url}data")
        ended = machine.finish(*words)
    assert ended.code == 0, ended.stderr
    assert "Resuming: " in ended.stderr
    assert machine.copy.read_bytes() == path.read_bytes()


def test_list_forget_and_clean_show_and_change_what_is_remembered(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(40 * CHUNK, 5)
    source, machine = Machine(tmp_path / "source"), Machine(tmp_path / "machine")
    program, link, peer = share(
        source, path, "--chunk-size", CHUNK, "--limit-up", "400K"
    )
    with program:
        assert listed(source)[0]["shared"] is True
        with machine.get(link, "--peer", peer) as getting:
            while len(machine.chunks) < 3:
                time.sleep(0.02)
            (entry,) = listed(machine)
            assert (entry["state"], entry["link"]) == ("unfinished", link)
            assert "unfinished" not in machine.finish("clean", "--json").stdout.decode()
            getting.kill()
        program.kill()
    assert listed(source)[0]["shared"] is False
    (entry,) = listed(machine)
    assert entry["done"] == len(machine.chunks) * CHUNK
    ended = machine.finish("clean", "--json")
    left = json.loads(ended.stdout.splitlines()[0])
    assert left["size"] >= path.stat().st_size
    shown = f"{format_size(left['size']):>10}  {machine.copy}\n"
    assert machine.finish("clean").stdout.decode() == shown
    assert machine.chunks
    assert machine.finish("clean", "--remove").code == 0
    assert not list(machine.folder.glob(".copy*"))
    assert listed(machine) == []
    assert "There is no unfinished download." in machine.finish("clean").stderr
    assert source.finish("forget", path).code == 0
    assert listed(source) == []
    assert "Nothing is shared or downloaded yet." in source.finish("list").stderr
    with source.start("seed") as program:
        program.wait_line("no complete copy to share yet")


def test_seed_reports_each_copy_that_has_changed_and_serves_the_others(
    make_file: MakeFile, tmp_path: Path
) -> None:
    machine, other = Machine(tmp_path / "machine"), Machine(tmp_path / "other")
    paths = [make_file(20 * CHUNK, seed) for seed in (6, 7)]
    links = []
    for path in paths:
        program, link, _ = share(machine, path)
        with program:
            links.append(link)
    paths[0].write_bytes(bytes(20 * CHUNK))
    entry = next((tmp_path / "machine/home/shoal/catalogue").glob("*/*"))
    entry.with_name("damaged").write_bytes(b"damaged")
    with machine.start("seed") as program:
        port = program.wait_line(r"Sharing 1 share on port (\d+)")[1]
        assert len(program.find(re_of(paths[0]) + " has changed")) == 1
        assert len(program.find("damaged is skipped")) == 1
        peer = ("--peer", f"127.0.0.1:{port}")
        assert other.finish("get", links[1], "-o", other.copy, *peer).code == 0
    assert other.copy.read_bytes() == paths[1].read_bytes()


def test_list_says_how_much_a_selection_holds(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, size in (("a.txt", 1), ("b.bin", 2), ("c.bin", 1)):
        (folder / name).write_bytes(bytes(size * CHUNK))
    machine = Machine(tmp_path / "machine")
    get_copy(machine, folder, "--include", "*.txt")
    (entry,) = listed(machine)
    assert (entry["state"], entry["done"], entry["size"]) == (
        "selection",
        CHUNK,
        4 * CHUNK,
    )
    line = machine.finish("list").stdout.decode()
    assert "25 % (selection)" in line
    assert "complete" not in line


def test_clean_finds_an_unfinished_download_that_was_forgotten(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(40 * CHUNK, 9)
    machine = Machine(tmp_path / "machine")
    begin_and_kill(machine, path, lambda: bool(machine.chunks and listed(machine)))
    ended = machine.finish("forget", machine.copy)
    assert ended.code == 0
    assert "remain until shoal clean --remove" in ended.stderr
    assert listed(machine) == []
    assert machine.finish("forget", machine.copy).code == 1
    with machine.start("seed") as program:
        program.wait_line("no complete copy to share yet")
    assert str(machine.copy) in machine.finish("clean").stdout.decode()
    assert machine.finish("clean", "--remove").code == 0
    assert not list(machine.folder.glob(".copy*"))
    assert machine.finish("clean").stdout == b""


def test_seed_says_once_what_concerns_several_entries(
    make_file: MakeFile, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "machine")
    paths = [make_file(20 * CHUNK, seed) for seed in (10, 11)]
    for path in paths:
        for more in ((), ("--public",)):
            program, _, _ = share(machine, path, "--name", f"n{len(more)}", *more)
            program.kill()
    assert len(listed(machine)) == 4
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = machine.finish("seed", "--port", server.getsockname()[1])
    assert ended.code == 1
    assert ended.stderr.count("in use") == 1
    paths[0].write_bytes(bytes(7))
    with machine.start("seed") as program:
        program.wait_line(r"Sharing 2 shares on port \d+")
        assert len(program.find(re_of(paths[0]))) == 1


def re_of(path: Path) -> str:
    return str(path).replace(".", r"\.")


def listed(machine: Machine) -> list[dict[str, object]]:
    """Return what `shoal list` says of each copy."""
    lines = machine.finish("list", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    return [each for each in events if each["event"] == "copy"]


def test_a_home_that_cannot_be_written_is_reported_once(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(CHUNK, 8)
    (tmp_path / "file").write_bytes(b"")
    with run("share", path, env={"XDG_DATA_HOME": str(tmp_path / "file")}) as program:
        program.wait_line("Ctrl-C", stream="err")
        assert len(program.find("a different link at the next start: .*file")) == 1


def outlive(tmp_path: Path, files: int, size: int, rates: tuple[str, str]) -> None:
    """Check that six nodes complete without their source, though all are killed."""
    rng = random.Random(13)
    folder = make_folder(tmp_path / "folder", files, sizes=(size // 2, size))
    with machines_on_a_lan(NODES + 2) as lan:
        source = Machine(tmp_path / "source", lan[0])
        nodes = [
            Machine(tmp_path / f"node-{number}", machine)
            for number, machine in enumerate(lan[1:-1])
        ]
        program, link, _ = share(source, folder, "--limit-up", rates[0])
        count = json.loads(source.finish("info", link, "--json").stdout)["chunks"]
        limit = ("--limit-up", rates[1])
        with program:
            running = [node.get(link, *limit) for node in nodes]
            while not any(each.find('"event":"complete"') for each in running):
                if len(set().union(*(node.chunks for node in nodes))) == count:
                    break
                time.sleep(0.1)
            program.kill()
        shutil.rmtree(folder.with_name("source"))
        for each in rng.sample(running, len(running)):
            time.sleep(rng.uniform(0.0, 0.3))
            each.kill()
        running = [node.get(link, *limit) for node in nodes]
        for each in running:
            each.wait_line('"event":"complete"', 300, stream="out")
        for each in running:
            each.kill()
        content = list_folder(folder)
        assert all(list_folder(node.copy) == content for node in nodes)
        running = [node.start("seed") for node in nodes]
        seventh = Machine(tmp_path / "seventh", lan[-1])
        with seventh.start("get", link, "-o", seventh.copy) as program:
            assert program.finish(300).code == 0
        for each in running:
            each.kill()
        assert list_folder(seventh.copy) == content


@pytest.mark.usefixtures("namespace")
@pytest.mark.timeout(180)
def test_six_nodes_that_lost_their_source_and_power_complete(tmp_path: Path) -> None:
    outlive(tmp_path, 40, 800_000, ("6M", "3M"))


@pytest.mark.long
@pytest.mark.usefixtures("namespace")
@pytest.mark.timeout(1200)
def test_six_nodes_complete_a_gigabyte_without_their_source(tmp_path: Path) -> None:
    outlive(tmp_path, 180, 8 << 20, ("60M", "30M"))
