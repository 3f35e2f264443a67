"""`shoal doctor` as a command, in networks of its own."""

import sys
from pathlib import Path

from tests.helpers.events import lines_of
from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import shoal

ALONE = {"SHOAL_LAN_ONLY": "1"}
TOOL = Path(__file__).parents[1] / "helpers" / "lan_tool.py"


def test_no_check_fails_on_a_machine_with_only_loopback(namespace: Namespace) -> None:
    ended = shoal("doctor", "--json", ns=namespace, env=ALONE).finish()
    lines = lines_of(ended.stdout)
    assert (ended.code, ended.stderr) == (0, "")
    found = {line["name"]: line for line in lines[:-1]}
    assert found["multicast"]["found"] == "A packet came back on lo (127.0.0.1)."
    assert found["port 5353"]["state"] == "ok"
    assert lines[-1]["checks"] == len(lines) - 1


def test_a_program_that_uses_port_5353_exclusively_is_noted(
    namespace: Namespace,
) -> None:
    with Program([sys.executable, str(TOOL), "hold"], namespace=namespace) as holder:
        holder.wait_line("^held$")
        ended = shoal("doctor", ns=namespace, env=ALONE).finish()
    assert ended.code == 0
    assert "note    port 5353   Another program uses" in ended.stdout.decode()


def test_failed_checks_are_named_and_the_exit_code_is_1(namespace: Namespace) -> None:
    namespace.run("ip", "link", "set", "lo", "down")
    ended = shoal("doctor", "-C", "/nowhere", ns=namespace, env=ALONE).finish()
    out = ended.stdout.decode()
    assert ended.code == 1
    assert "failed  multicast   Multicast does not work" in out
    assert "failed  disk        /nowhere cannot be written to" in out
    assert ended.stderr.startswith("shoal: 2 of ")
    assert "checks failed: multicast, disk; see above" in ended.stderr
