"""The programs that are compared: where they are and how their servers start.

Programs run with their own defaults unless a comment says what was changed and
why; each server runs in the namespace of the workload and ends with it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.programs import NODE_PROGRAMS, missing_node, node

from benchmarks.measure import clean_environment
from benchmarks.model import Setup

__all__ = [
    "NodeServer",
    "OutputServer",
    "SealedShare",
    "Share",
    "has_libtorrent",
    "has_node",
    "has_programs",
    "node_argv",
    "shoal_argv",
    "start_nginx",
    "start_nginx_tls",
    "start_rsync",
    "start_torrent",
    "torrent_argv",
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
    server {{ listen 127.0.0.1:{port}{tls}; root {root}; }}
}}
"""
_NGINX_TLS = """ ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3"""
_RSYNC = """
use chroot = no
pid file = {folder}/rsyncd.pid
[source]
    path = {root}
    uid = {uid}
    gid = {gid}
"""
# In a namespace of our own every port is free.
_NGINX_PORT = 8080
_NGINX_TLS_PORT = 8443
_RSYNC_PORT = 8730


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


def has_libtorrent(setup: Setup) -> bool:
    """Say whether libtorrent can be imported; note that it cannot."""
    if find_spec("libtorrent") is None:
        setup.missing.append("libtorrent is not installed (no wheel from Python 3.14).")
        return False
    return True


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
class SealedShare:
    """A running `shoal share` of a sealed share, with discovery off."""

    program: Program
    link: str
    port: int

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self.program.pid

    @classmethod
    def start(
        cls,
        stack: ExitStack,
        namespace: Namespace,
        path: Path,
        home: Path,
        *options: object,
    ) -> "SealedShare":
        """Share a file or folder; `home` is for what shoal keeps from run to run."""
        alone = ("--lan-only", "--no-lan", *options)
        argv = shoal_argv("share", path, "--json", *alone)
        env = clean_environment() | {"XDG_DATA_HOME": str(home)}
        program = stack.enter_context(Program(argv, namespace=namespace, env=env))
        start = program.wait_line(r'^\{.*"event":"start".*\}$', 300, stream="out")
        event = json.loads(start[0])
        return cls(program, event["link"], event["port"])

    def get_argv(self, host: str, out: Path, *options: object) -> list[str]:
        """Return the command that fetches it, told where it is."""
        peer = f"{host}:{self.port}"
        alone = ("--lan-only", "--no-lan", "--peer", peer, *options)
        return shoal_argv("get", self.link, "-o", out, "--no-progress", *alone)


@dataclass(frozen=True)
class OutputServer:
    """A running server that gives everyone what some command prints."""

    pid: int
    port: int

    @classmethod
    def start(
        cls, setup: Setup, namespace: Namespace, *command: object
    ) -> "OutputServer":
        """Listen at every address of a namespace."""
        argv = [sys.executable, "-m", "benchmarks.output_server", *map(str, command)]
        program = _start(setup, namespace, argv)
        port = int(program.wait_line(r"^listening (\d+)$", stream="out")[1])
        return cls(program.pid, port)

    def take_argv(self, host: str, command: str) -> list[str]:
        """Return what runs a shell command with the stream as its standard input."""
        return ["bash", "-c", f"exec {command} < /dev/tcp/{host}/{self.port}"]


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
    pid = _start_nginx(setup, namespace, folder, root, _NGINX_PORT, "")
    return pid, f"http://127.0.0.1:{_NGINX_PORT}"


def start_nginx_tls(
    setup: Setup, namespace: Namespace, root: Path
) -> tuple[int, str, Path]:
    """Serve a folder by nginx over TLS 1.3; return process id, address, certificate."""
    folder = setup.scratch / "nginx-tls"
    folder.mkdir()
    certificate = folder / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(folder / "key.pem"), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    tls = _NGINX_TLS.format(folder=folder)
    pid = _start_nginx(setup, namespace, folder, root, _NGINX_TLS_PORT, tls)
    return pid, f"https://127.0.0.1:{_NGINX_TLS_PORT}", certificate


def _start_nginx(
    setup: Setup, namespace: Namespace, folder: Path, root: Path, port: int, tls: str
) -> int:
    config = folder / "nginx.conf"
    config.write_text(
        _NGINX.format(folder=folder, root=root, port=port, tls=tls), encoding="utf-8"
    )
    argv = ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"]
    program = _start(setup, namespace, argv)
    _wait_listening(namespace, port)
    return program.pid


def start_rsync(setup: Setup, namespace: Namespace, root: Path) -> tuple[int, str]:
    """Serve a folder by an rsync daemon; return its process id and address."""
    folder = setup.scratch / "rsync"
    folder.mkdir()
    config = folder / "rsyncd.conf"
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    text = _RSYNC.format(folder=folder, root=root, **owner)
    config.write_text(text, encoding="utf-8")
    argv = ["rsync", "--daemon", "--no-detach", f"--port={_RSYNC_PORT}"]
    program = _start(setup, namespace, [*argv, f"--config={config}"])
    _wait_listening(namespace, _RSYNC_PORT)
    return program.pid, f"rsync://127.0.0.1:{_RSYNC_PORT}/source/"


def torrent_argv(*args: object) -> list[str]:
    """Return the command line of our libtorrent program."""
    return [sys.executable, "-m", "benchmarks.torrent_peer", *map(str, args)]


def start_torrent(
    stack: ExitStack, namespace: Namespace, *args: object, said: str = "seeding"
) -> Program:
    """Start our libtorrent program, which seeds or fetches, until it says so."""
    argv = torrent_argv(*args)
    env = clean_environment()
    program = stack.enter_context(Program(argv, namespace=namespace, env=env))
    program.wait_line(f"^{said}$", 120, stream="out")
    return program


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
