"""Start the programs of the tests: Node's, and the command line of shoal.

with node("server.js", file, "a name", ns=namespace) as server:
    server.wait_line(r"listening (\\d+)")
    with shoal("chunk", "a name", 3, "--lan-only", ns=namespace) as ours:
        code, out, err = ours.finish()
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Finished, Program

__all__ = [
    "NODE_PROGRAMS",
    "Finished",
    "Program",
    "missing_node",
    "node",
    "sharer_home",
    "shoal",
]

NODE_PROGRAMS = Path(__file__).parent.parent / "interop" / "node"
"""The folder of the Node programs and their packages."""


def node(
    script: str,
    *args: object,
    ns: Namespace | None = None,
    env: Mapping[str, str] | None = None,
) -> Program:
    """Start a Node program; programs that use discovery need a namespace."""
    argv = ["node", str(NODE_PROGRAMS / script), *map(str, args)]
    return Program(argv, namespace=ns, env={**os.environ, **(env or {})})


def shoal(
    *args: object,
    ns: Namespace | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    has_input: bool = False,
) -> Program:
    """Start a command of shoal without the SHOAL_* variables of this process.

    `share` has a home of its own, as on another machine, so that other commands fetch
    from it instead of reading the files on the disk.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
    if args[:1] == ("share",):
        clean["XDG_DATA_HOME"] = str(sharer_home())
    argv = [sys.executable, "-m", "shoal", *map(str, args)]
    return Program(
        argv,
        namespace=ns,
        env={**clean, **(env or {})},
        cwd=cwd,
        has_input=has_input,
    )


def sharer_home() -> Path:
    """Return the home of the commands that share."""
    return Path(os.environ["XDG_DATA_HOME"], "sharer")


def missing_node() -> str | None:
    """Return why the Node programs cannot run here; None if they can."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (NODE_PROGRAMS / "node_modules" / "discovery-channel").is_dir():
        return f"no node_modules in {NODE_PROGRAMS}: run `npm install` there"
    return None
