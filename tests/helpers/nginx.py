"""nginx with a folder to serve, and its log of what it sent."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

__all__ = ["Nginx", "missing_nginx", "nginx"]

_CONFIG = """
daemon off;
# Or it would read what it serves as another user.
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ }}
http {{
    log_format sent '$status $body_bytes_sent';
    access_log {folder}/access.log sent;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


def missing_nginx() -> str | None:
    """Say why nginx cannot be run here; None when it can."""
    return None if shutil.which("nginx") else "nginx is not installed"


class Nginx:
    """Know where one serves, and what it sent."""

    def __init__(self, port: int, log: Path, program: Program) -> None:
        self.port = port
        self.program = program
        self._log = log

    def sent(self) -> list[int]:
        """Return how many bytes the body of each answer had; ends it before."""
        self.program.send(signal.SIGQUIT)  # it logs what it is at, and ends
        self.program.finish()
        return [int(line.split()[1]) for line in self._log.read_text().splitlines()]


@contextmanager
def nginx(root: Path, folder: Path, port: int, namespace: Namespace) -> Iterator[Nginx]:
    """Serve the files in `root`; what else nginx writes goes to `folder`."""
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, root=root))
    argv = ["nginx", "-c", str(config), "-p", str(folder), "-e", "stderr"]
    with Program(argv, namespace=namespace) as program:
        yield Nginx(port, folder / "access.log", program)
