"""nginx as a web server for one folder, with a log of the bytes that it sent."""

import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.commands import free_port
from tests.helpers.netns import Namespace
from tests.helpers.process import Program

__all__ = ["Nginx", "missing_nginx", "nginx", "wait_listening"]

PATIENCE = 20.0  # seconds until nginx listens
_CONFIG = """
daemon off;
# With a master process, another user would read the files.
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    log_format sent '$status $body_bytes_sent';
    access_log {folder}/access.log sent;
    etag on;
    types {{ }}
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        max_ranges 1;
    }}
}}
"""


def missing_nginx() -> str | None:
    """Return why nginx cannot run here; None if it can."""
    return None if shutil.which("nginx") else "nginx is not installed"


class Nginx:
    """A running nginx."""

    def __init__(self, port: int, log: Path, program: Program) -> None:
        self.port = port
        self.program = program
        self._log = log

    def sent(self) -> list[int]:
        """End nginx; return the size of the body of each answer in bytes."""
        self.program.send(signal.SIGQUIT)  # logs the current answers, then ends
        self.program.finish()
        return [int(line.split()[1]) for line in self._log.read_text().splitlines()]


@contextmanager
def nginx(
    root: Path, folder: Path, port: int = 0, namespace: Namespace | None = None
) -> Iterator[Nginx]:
    """Serve the files in `root`; `folder` is for nginx's own files.

    Without a namespace it has a free port and listens when the block starts.
    """
    folder.mkdir()
    config = folder / "nginx.conf"
    port = port or free_port()
    config.write_text(_CONFIG.format(folder=folder, port=port, root=root))
    argv = ["nginx", "-c", str(config), "-p", str(folder), "-e", "stderr"]
    with Program(argv, namespace=namespace) as program:
        if namespace is None:
            wait_listening(port)
        yield Nginx(port, folder / "access.log", program)


def wait_listening(port: int, is_running: Callable[[], bool] = lambda: True) -> None:
    """Wait until a program listens on 127.0.0.1."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionError:
            assert is_running(), "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.02)
