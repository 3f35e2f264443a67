"""nginx, with curl and aria2 (four connections) as its clients, over HTTP and HTTPS.

One process serves all connections, with sendfile as in the default configuration.
"""

import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.netns import Namespace

from benchmarks.peers.launch import missing_programs, start, wait_listening
from benchmarks.transfer import Fetch, Job, Peer, Way

__all__ = ["ARIA2", "ARIA2_TLS", "CURL", "CURL_TLS", "Nginx"]

_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    # All small chunks use one connection.
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}{tls}; root {root}; }}
}}
"""
_TLS = """ ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.3"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx that serves one folder."""

    pid: int
    address: str
    """URL of the folder, without the slash at its end."""
    certificate: Path
    """The certificate to trust if it serves over TLS."""

    @classmethod
    def start(
        cls,
        stack: ExitStack,
        namespace: Namespace,
        root: Path,
        folder: Path,
        port: int,
        *,
        has_tls: bool = False,
    ) -> "Nginx":
        """Start nginx; `folder` is for its own files."""
        certificate = folder / "certificate.pem"
        if has_tls:
            _make_certificate(certificate, folder / "key.pem")
        tls = _TLS.format(folder=folder) if has_tls else ""
        config = folder / "nginx.conf"
        text = _CONFIG.format(folder=folder, root=root, port=port, tls=tls)
        config.write_text(text, encoding="utf-8")
        argv = ["nginx", "-p", str(folder), "-c", str(config), "-e", "stderr"]
        program = start(stack, namespace, argv)
        wait_listening(namespace, port)
        scheme = "https" if has_tls else "http"
        return cls(program.pid, f"{scheme}://127.0.0.1:{port}", certificate)


def _make_certificate(certificate: Path, key: Path) -> None:
    argv = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    argv += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)


def _prepare(job: Job, name: str, *, has_tls: bool) -> tuple[Nginx, Path, str]:
    """Start nginx; return it, the path of the target and the URL of the file."""
    folder = job.folder(name)
    place = (job.setup.stack, job.namespace, job.source.parent, folder)
    nginx = Nginx.start(*place, next(job.ports), has_tls=has_tls)
    return nginx, folder / "target", f"{nginx.address}/{job.source.name}"


def _start_curl(job: Job, *, has_tls: bool) -> Way:
    name = "curl-tls" if has_tls else "curl"
    nginx, target, url = _prepare(job, name, has_tls=has_tls)
    trust = ["--cacert", str(nginx.certificate)] if has_tls else []
    argv = ["curl", "-sf", *trust, "-o", str(target), url]
    return lambda stack: Fetch(argv, target, [nginx.pid])


def _start_aria2(job: Job, *, has_tls: bool) -> Way:
    name = "aria2-tls" if has_tls else "aria2"
    nginx, target, url = _prepare(job, name, has_tls=has_tls)
    trust = [f"--ca-certificate={nginx.certificate}"] if has_tls else []
    # By default aria2 first fills the file with zeros.
    argv = ["aria2c", "-x4", "--file-allocation=none", "--quiet", "--no-conf", *trust]
    argv += ["-d", str(target.parent), "-o", target.name, url]
    return lambda stack: Fetch(argv, target, [nginx.pid])


CURL = Peer(
    name="curl from nginx",
    how="plain HTTP, sendfile; nothing verified.",
    missing=lambda: missing_programs("nginx", "curl"),
    start=lambda job: _start_curl(job, has_tls=False),
)
CURL_TLS = Peer(
    name="curl from nginx, HTTPS",
    how="TLS 1.3 with a certificate made for the run; only TLS verifies.",
    missing=lambda: missing_programs("nginx", "curl", "openssl"),
    start=lambda job: _start_curl(job, has_tls=True),
)
ARIA2 = Peer(
    name="aria2 -x4 from nginx",
    how=(
        "four connections, plain HTTP, no space allocated in advance; nothing verified."
    ),
    missing=lambda: missing_programs("nginx", "aria2c"),
    start=lambda job: _start_aria2(job, has_tls=False),
)
ARIA2_TLS = Peer(
    name="aria2 -x4 from nginx, HTTPS",
    how="four connections, TLS 1.3, no space allocated in advance; only TLS verifies.",
    missing=lambda: missing_programs("nginx", "aria2c", "openssl"),
    start=lambda job: _start_aria2(job, has_tls=True),
)
