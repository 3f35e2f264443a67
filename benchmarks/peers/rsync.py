"""rsync from its own daemon, unencrypted."""

import os
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.peers.launch import missing_programs, start, wait_listening
from benchmarks.transfer import Fetch, Job, Peer, Way

__all__ = ["DAEMON", "missing_rsync", "start_rsync"]

_CONFIG = """
use chroot = no
pid file = {folder}/rsyncd.pid
[source]
    path = {root}
    uid = {uid}
    gid = {gid}
"""


def missing_rsync() -> str | None:
    """Return why rsync cannot run here; None if it can."""
    return missing_programs("rsync")


def start_rsync(
    stack: ExitStack, namespace: Namespace, root: Path, folder: Path, port: int
) -> tuple[int, str]:
    """Start a daemon; return process id and address. `folder` is for its own files."""
    config = folder / "rsyncd.conf"
    owner = {"uid": os.getuid(), "gid": os.getgid()}
    text = _CONFIG.format(folder=folder, root=root, **owner)
    config.write_text(text, encoding="utf-8")
    argv = ["rsync", "--daemon", "--no-detach", f"--port={port}"]
    program = start(stack, namespace, [*argv, f"--config={config}"])
    wait_listening(namespace, port)
    return program.pid, f"rsync://127.0.0.1:{port}/source/"


def _start(job: Job) -> Way:
    folder = job.folder("rsync")
    root = job.source.parent
    place = (job.setup.stack, job.namespace, root, folder, next(job.ports))
    pid, address = start_rsync(*place)
    target = folder / "target"
    argv = ["rsync", "-a", address + job.source.name, str(target)]
    return lambda stack: Fetch(argv, target, [pid])


DAEMON = Peer(
    name="rsync daemon",
    how="`-a`, unencrypted; the whole file verified by its checksum.",
    missing=missing_rsync,
    start=_start,
)
