"""LAN discovery among real programs; each test has its own network namespaces."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.netns import Namespace, join_by_veth
from tests.helpers.process import Program
from tests.helpers.programs import missing_node, node
from tests.helpers.requirements import require

pytestmark = pytest.mark.interop

Start = Callable[..., Program]
ROOT = Path(__file__).parent.parent.parent
LATE = 8.0  # seconds: an interface is noticed within 5; the fourth question comes at 13
FLOOD = 10_000  # packets
FLOOD_MEMORY = 8 << 20  # bytes that a flood may leave behind
ID = "myid"


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    with ExitStack() as programs:
        yield programs


@pytest.fixture
def far(namespace: Namespace) -> Iterator[Namespace]:
    """Yield a second namespace, which is not yet joined to the first."""
    with Namespace() as made:
        yield made


@pytest.fixture
def tool(programs: ExitStack) -> Start:
    """Return a function that starts LAN discovery in a namespace."""

    def start(namespace: Namespace, *args: object) -> Program:
        argv = [sys.executable, "-m", "tests.helpers.lan_tool", *map(str, args)]
        program = Program(argv, namespace=namespace, cwd=ROOT)
        return programs.enter_context(program)

    return start


@pytest.fixture
def discover(programs: ExitStack) -> Start:
    """Return a function that starts Node's discovery-channel in a namespace."""
    require(missing_node())

    def start(namespace: Namespace, *args: object) -> Program:
        program = programs.enter_context(node("discover.js", *args, ns=namespace))
        program.wait_line("^ready$")
        return program

    return start


def resident(program: Program) -> int:
    """Return the memory that a program uses, in bytes."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


# With Node programs.


@pytest.mark.program(
    *("lan", "discovery-channel (npm)", "npm:discovery-channel"),
    "shoal finds a running program",
)
def test_shoal_finds_a_running_node_program(
    namespace: Namespace, tool: Start, discover: Start
) -> None:
    other = discover(namespace, ID)
    discover(namespace, ID, 4001)
    other.wait_line(r"^127\.0\.0\.1:4001 dns$")
    tool(namespace, "join", ID).wait_line(r"^found 127\.0\.0\.1:4001$")


@pytest.mark.program(
    *("lan", "discovery-channel (npm)", "npm:discovery-channel"),
    "shoal finds a program that starts later",
)
def test_shoal_finds_a_node_program_that_starts_later(
    namespace: Namespace, tool: Start, discover: Start
) -> None:
    ours = tool(namespace, "join", ID)
    tool(namespace, "join", ID, 4002)
    ours.wait_line(r"^found 127\.0\.0\.1:4002$")
    discover(namespace, ID, 4001)
    ours.wait_line(r"^found 127\.0\.0\.1:4001$")


@pytest.mark.program(
    *("lan", "discovery-channel (npm)", "npm:discovery-channel"),
    "finds a running shoal",
)
def test_a_node_program_finds_a_running_shoal(
    namespace: Namespace, tool: Start, discover: Start
) -> None:
    tool(namespace, "join", ID, 4002)
    tool(namespace, "join", ID).wait_line(r"^found 127\.0\.0\.1:4002$")
    discover(namespace, ID).wait_line(r"^127\.0\.0\.1:4002 dns$")


@pytest.mark.program(
    *("lan", "discovery-channel (npm)", "npm:discovery-channel"),
    "finds a shoal that starts later",
)
def test_a_node_program_finds_a_shoal_that_starts_later(
    namespace: Namespace, tool: Start, discover: Start
) -> None:
    theirs = discover(namespace, ID)
    discover(namespace, ID, 4001)
    theirs.wait_line(r"^127\.0\.0\.1:4001 dns$")
    tool(namespace, "join", ID, 4002)
    # The Node program asks again after a minute only, so shoal must speak first.
    theirs.wait_line(r"^127\.0\.0\.1:4002 dns$")


@pytest.mark.program(
    *("lan", "discovery-channel (npm)", "npm:discovery-channel"),
    "finds shoal on another machine, and is found",
)
def test_a_node_program_on_another_machine_and_shoal_find_each_other(
    namespace: Namespace, far: Namespace, tool: Start, discover: Start
) -> None:
    here, there = join_by_veth(namespace, far)
    ours = tool(namespace, "join", ID, 4002)
    theirs = discover(far, ID, 4001)
    ours.wait_line(rf"^found {there}:4001$")
    theirs.wait_line(rf"^{here}:4002 dns$")


# Without Node programs.


def test_two_processes_of_one_machine_find_each_other(
    namespace: Namespace, tool: Start
) -> None:
    first = tool(namespace, "join", ID, 4001)
    second = tool(namespace, "join", ID, 4002)
    first.wait_line(r"^found 127\.0\.0\.1:4002$")
    second.wait_line(r"^found 127\.0\.0\.1:4001$")
    assert not first.find(r"^found .*:4001$"), "the process found itself"


def test_discovery_works_if_lo_lacks_the_multicast_flag(
    namespace: Namespace, tool: Start
) -> None:
    namespace.run("ip", "link", "set", "lo", "multicast", "off")
    namespace.run("ip", "route", "flush", "default")
    first = tool(namespace, "join", ID, 4001)
    tool(namespace, "join", ID, 4002).wait_line(r"^found 127\.0\.0\.1:4001$")
    first.wait_line(r"^found 127\.0\.0\.1:4002$")


def test_two_machines_find_each_other(
    namespace: Namespace, far: Namespace, tool: Start
) -> None:
    here, there = join_by_veth(namespace, far)
    ours = tool(namespace, "join", ID, 4001)
    theirs = tool(far, "join", ID, 4002)
    ours.wait_line(rf"^found {there}:4002$")
    theirs.wait_line(rf"^found {here}:4001$")


def test_an_interface_that_is_enabled_later_is_used(
    namespace: Namespace, far: Namespace, tool: Start
) -> None:
    confined = tool(namespace, "join", ID, 4003, "lo")
    ours = tool(namespace, "join", ID, 4001)
    theirs = tool(far, "join", ID, 4002)
    confined.wait_line(r"^found 127\.0\.0\.1:4001$")
    ours.wait_line("^ready$")
    theirs.wait_line("^ready$")
    here, there = join_by_veth(namespace, far)
    ours.wait_line(rf"^found {there}:4002$", timeout=LATE)
    theirs.wait_line(rf"^found {here}:4001$", timeout=LATE)
    assert not theirs.find(":4003$")
    assert not confined.find(r"^found (?!127\.0\.0\.1:)"), (
        "the address of one interface was announced on the other"
    )


def test_discovery_stays_on_its_interface(
    namespace: Namespace, far: Namespace, tool: Start
) -> None:
    here, there = join_by_veth(namespace, far)
    confined = tool(namespace, "join", ID, 4001, "lo")
    free = tool(namespace, "join", ID, 4003)
    theirs = tool(far, "join", ID, 4002)
    theirs.wait_line(rf"^found {here}:4003$")
    free.wait_line(rf"^found {there}:4002$")
    confined.wait_line(r"^found 127\.0\.0\.1:4003$")
    assert not theirs.find(":4001$"), "it was announced on another interface"
    assert not confined.find(r"^found (?!127\.0\.0\.1:)"), (
        "it received packets of another interface"
    )


# In difficult networks.


def test_an_answer_from_outside_the_subnet_is_ignored(
    namespace: Namespace, far: Namespace, tool: Start
) -> None:
    _, there = join_by_veth(namespace, far)
    far.run("ip", "addr", "add", "10.99.0.1/24", "dev", "v1")
    ours = tool(namespace, "join", ID)
    tool(namespace, "join", ID, 4001)
    ours.wait_line("^found .*:4001$")
    tool(far, "speak", "10.99.0.1", ID, 666).finish()
    tool(far, "speak", there, ID, 4002).finish()
    ours.wait_line(rf"^found {there}:4002$")
    assert not ours.find(":666$")


def test_processes_of_one_machine_find_each_other_while_another_program_holds_5353(
    namespace: Namespace, tool: Start
) -> None:
    tool(namespace, "hold").wait_line("^held$")
    first = tool(namespace, "join", ID, 4001)
    second = tool(namespace, "join", ID, 4002)
    first.wait_line(r"^found 127\.0\.0\.1:4002$")
    second.wait_line(r"^found 127\.0\.0\.1:4001$")
    assert "5353" in first.wait_line("^problem (.*)")[1]


@pytest.mark.program(
    *("lan", "discovery-channel (npm)", "npm:discovery-channel"),
    "finds shoal where another program holds port 5353",
)
def test_a_machine_without_5353_and_node_programs_find_each_other(
    namespace: Namespace, far: Namespace, tool: Start, discover: Start
) -> None:
    here, there = join_by_veth(namespace, far)
    tool(namespace, "hold").wait_line("^held$")
    theirs = discover(far, ID, 4001)
    ours = tool(namespace, "join", ID, 4002)
    ours.wait_line(rf"^found {there}:4001$")
    theirs.wait_line(rf"^{here}:4002 dns$")


def test_a_machine_without_either_port_still_finds_peers(
    namespace: Namespace, far: Namespace, tool: Start
) -> None:
    _, there = join_by_veth(namespace, far)
    tool(namespace, "hold", 5353).wait_line("^held$")
    tool(namespace, "hold", 15353).wait_line("^held$")
    theirs = tool(far, "join", ID, 4001)
    theirs.wait_line("^ready$")
    tool(namespace, "join", ID).wait_line(rf"^found {there}:4001$")


@pytest.mark.parametrize("has_address", [False, True])
def test_a_missing_network_is_reported_and_used_once_it_appears(
    namespace: Namespace, tool: Start, has_address: bool
) -> None:
    namespace.run("ip", "link", "set", "lo", "down")
    if not has_address:
        namespace.run("ip", "addr", "flush", "dev", "lo")
    first = tool(namespace, "join", ID, 4001)
    second = tool(namespace, "join", ID, 4002)
    for each in (first, second):
        said = each.wait_line("^problem (.*)")[1]
        assert said.startswith("LAN discovery does not work: ")
        assert said.endswith('A peer can still be named with peers="HOST:PORT".')
    if has_address:
        # Its open sockets would serve the next question in any case, so wait until
        # the third question, which leaves no trace, is over.
        namespace.run("sleep", "4.5")
    namespace.run("ip", "link", "set", "lo", "up")
    first.wait_line(r"^found 127\.0\.0\.1:4002$", timeout=LATE)
    second.wait_line(r"^found 127\.0\.0\.1:4001$", timeout=LATE)
    second.wait_line("^problem None$")


def test_discovery_survives_a_flood_with_little_memory(
    namespace: Namespace, tool: Start
) -> None:
    ours = tool(namespace, "join", ID, 4001)
    tool(namespace, "join", ID, 4002)
    ours.wait_line(r"^found 127\.0\.0\.1:4002$")
    tool(namespace, "flood", ID, 500).finish()
    before = resident(ours)
    tool(namespace, "flood", ID, FLOOD).finish()
    later = tool(namespace, "join", ID, 4003)
    ours.wait_line(r"^found 127\.0\.0\.1:4003$")
    later.wait_line(r"^found 127\.0\.0\.1:4001$")
    assert resident(ours) - before < FLOOD_MEMORY
    assert len(ours.find("^found")) > FLOOD / 10, "the flood did not arrive"
    assert not ours.find(r"^found (?!127\.0\.0\.1:)"), (
        "it accepted the address of another host"
    )


# Beside another mDNS stack.


@pytest.mark.program(
    *("lan", "avahi", "avahi-daemon --version"),
    "takes our answers for valid",
)
def test_avahi_takes_our_answers_for_valid(
    namespace: Namespace,
    far: Namespace,
    tool: Start,
    programs: ExitStack,
    tmp_path: Path,
) -> None:
    """avahi logs each response that has a question section, as dns-discovery's has."""
    require(None if shutil.which("avahi-daemon") else "avahi-daemon is not installed")
    join_by_veth(namespace, far)
    config = tmp_path / "avahi.conf"
    config.write_text("[server]\nenable-dbus=no\nuse-ipv6=no\n")
    words = ("--debug", "--no-drop-root", "--no-chroot", "--no-rlimits", "-f")
    argv = ["avahi-daemon", *words, str(config)]
    avahi = programs.enter_context(Program(argv, namespace=far))
    avahi.wait_line("Server startup complete", 30)
    tool(namespace, "join", ID, 4002)
    tool(namespace, "join", ID).wait_line(r"^found 10\.77\.0\.1:4002$")
    assert "Invalid response" not in avahi.stderr
    tool(namespace, "speak-with-question", "10.77.0.1", ID, 4003)
    avahi.wait_line("Invalid response packet")
    assert avahi.stderr.count("Invalid response packet") == 1
