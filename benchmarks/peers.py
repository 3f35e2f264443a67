"""The programs that are compared: where they are and how their servers start.

Programs run with their own defaults unless a comment says what was changed and
why; each server runs in the namespace of the workload and ends with it.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import NODE_PROGRAMS, missing_node, node

from benchmarks.measure import clean_environment
from benchmarks.model import Setup

__all__ = [
    "NodeServer",
    "Share",
    "has_node",
    "has_programs",
    "node_argv",
    "shoal_argv",
    "start_nginx",
]

_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
_NGINX_PORT = 8080  # in a namespace of our own every port is free


def shoal_argv(*args: object) -> list[str]:
    """Return the command line of the shoal that belongs to this interpreter."""
    script = Path(sys.executable).with_name("shoal")
    begin = [str(script)] if script.exists() else [sys.executable, "-m", "shoal"]
    return [*begin, *map(str, args)]


def has_programs(setup: Setup, *names: str) -> bool:
    """Say whether all these programs are there; note those that are not."""
    missing = [name for name in names if shutil.which(name) is None]
    setup.missing.extend(f"{name} is not installed." for name in missing)
    return not missing


def has_node(setup: Setup) -> bool:
    """Say whether the Node programs can run; note why they cannot."""
    reason = missing_node()
    if reason is not None:
        setup.missing.append(f"{reason}.")
    return reason is None


@dataclass(frozen=True)
class Share:
    """A running `shoal share`."""

    pid: int
    id: str
    port: int

    @classmethod
    def start(
        cls, setup: Setup, namespace: Namespace, path: Path, *options: object
    ) -> "Share":
        """Share a file on the LAN of a namespace, over an open channel."""
        argv = shoal_argv("share", path, "--json", "--lan-only", *options)
        program = _start(setup, namespace, argv)
        start = program.wait_line(r'^\{.*"event":"start".*\}$', 60, stream="out")
        event = json.loads(start[0])
        return cls(program.pid, event["id"], event["port"])


@dataclass(frozen=True)
class NodeServer:
    """A running server of the workshop, with TCP_NODELAY.

    Without it each chunk waits for a delayed acknowledgement, and there would be
    nothing to compare.
    """

    pid: int
    port: int

    @classmethod
    def start(
        cls, setup: Setup, namespace: Namespace, path: Path, name: str
    ) -> "NodeServer":
        """Serve a file on a named channel in chunks of 1,024 bytes."""
        program = setup.stack.enter_context(
            node("server.js", path, name, "--nodelay", ns=namespace)
        )
        return cls(program.pid, int(program.wait_line(r"^listening (\d+)$")[1]))


def start_nginx(setup: Setup, namespace: Namespace, root: Path) -> tuple[int, str]:
    """Serve a folder by nginx; return its process id and address.

    One process, since one connection uses only one; sendfile as packaged.
    """
    folder = setup.scratch / "nginx"
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, root=root, port=_NGINX_PORT), encoding="utf-8"
    )
    argv = ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"]
    program = _start(setup, namespace, argv)
    _wait_listening(namespace, _NGINX_PORT)
    return program.pid, f"http://127.0.0.1:{_NGINX_PORT}"


def node_argv(script: str, *args: object) -> list[str]:
    """Return the command line of one of the workshop's programs."""
    return ["node", str(NODE_PROGRAMS / script), *map(str, args)]


def _wait_listening(namespace: Namespace, port: int, timeout: float = 10.0) -> None:
    """Wait until somebody listens on a TCP port inside the namespace."""
    deadline = time.monotonic() + timeout
    while not namespace.run("ss", "-Hltn", f"sport = :{port}").strip():
        assert time.monotonic() < deadline, f"nobody listens on port {port}"
        time.sleep(0.02)


def _start(setup: Setup, namespace: Namespace, argv: Sequence[str]) -> Program:
    env = clean_environment()
    return setup.stack.enter_context(Program(argv, namespace=namespace, env=env))
