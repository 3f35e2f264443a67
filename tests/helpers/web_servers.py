"""Real file servers, each started for one folder on 127.0.0.1."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import which
from typing import NamedTuple

import pytest

from tests.helpers.commands import free_port
from tests.helpers.folders import list_folder
from tests.helpers.nginx import wait_listening
from tests.helpers.process import Program
from tests.helpers.s3 import put_into

__all__ = ["SERVERS", "FileServer", "serving_files"]

SERVERS_FOLDER = Path(__file__).parents[1] / "interop/servers"
_APPS = SERVERS_FOLDER / "apps.py"
_BIN = SERVERS_FOLDER / "node_modules/.bin"

_NGINX = """
daemon off; master_process off; pid {work}/pid; error_log stderr;
events {{ }}
http {{
    access_log off; types {{ text/html html; }} default_type application/octet-stream;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi; uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi; proxy_cache_path {work}/cache keys_zone=c:1m;
    server {{ listen 127.0.0.1:{port}; {rules} }}
}}
"""
_NGINX_RULES = {
    "plain": "root {root};",
    "gzip": "root {root}; gzip on; gzip_types *; gzip_min_length 1;",
    "cache": "proxy_cache c; location / {{ proxy_pass http://127.0.0.1:{behind}; }}",
}
_APACHE = """
ServerRoot {work}
PidFile {work}/pid
Listen 127.0.0.1:{port}
ServerName localhost
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
LoadModule filter_module /usr/lib/apache2/modules/mod_filter.so
LoadModule deflate_module /usr/lib/apache2/modules/mod_deflate.so
TypesConfig /etc/mime.types
User nobody
Group nogroup
DocumentRoot {root}
<Directory {root}>
    Require all granted
</Directory>
AddOutputFilterByType DEFLATE text/html text/plain
"""
_LIGHTTPD = """
server.document-root = "{root}"
server.port = {port}
server.bind = "127.0.0.1"
"""
_CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    root * {root}
    encode gzip
    file_server
}}
"""
_H2O = """
listen: {{host: 127.0.0.1, port: {port}}}
user: root
hosts:
  default:
    paths:
      /: {{file.dir: {root}}}
"""
_SQUID = """
http_port 127.0.0.1:{port}
pid_filename {work}/pid
cache_log stdio:/dev/stderr
access_log none
cache deny all
coredump_dir {work}
http_access allow all
shutdown_lifetime 0 seconds
"""
_VCL = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{behind}"; }}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    compression algo gzip
    compression type text/html text/plain
frontend shoal
    bind 127.0.0.1:{port}
    default_backend files
backend files
    server plain 127.0.0.1:{behind}
"""


class FileServer(NamedTuple):
    """How to start a server; words may contain `{root}`, `{work}`, `{port}`."""

    name: str
    version: str
    """How to find its version, as `tests.helpers.compatibility` has it."""
    what: str
    """What is special about it."""
    argv: tuple[str, ...]
    config: str = ""
    """The text of `{work}/config`."""
    url: str = "http://127.0.0.1:{port}/"
    is_proxy: bool = False
    """Whether it stands before a plain server, at `{behind}`."""
    env: Mapping[str, str] = {}
    """Variables for shoal."""
    is_cheap: bool = False
    """Whether it is installed for all tests, and starts at once."""
    is_bucket: bool = False
    """Whether the files have to be put into a bucket."""


def _app(name: str, package: str, what: str, **more: object) -> FileServer:
    argv = (sys.executable, str(_APPS), name, "{root}", "{port}")
    options = {"version": f"pip:{package}"} | more
    return FileServer(name, what=what, argv=argv, **options)  # type: ignore[arg-type]


def _node(name: str, what: str, *words: str, **more: object) -> FileServer:
    argv = (str(_BIN / name.removesuffix("-cli")), *words)
    return FileServer(name, f"npm:{name}", what, argv, **more)  # type: ignore[arg-type]


def _nginx(kind: str, what: str, *, is_cheap: bool = False) -> FileServer:
    argv = ("nginx", "-c", "{work}/config", "-p", "{work}", "-e", "stderr")
    rules = _NGINX_RULES[kind]
    config = _NGINX.replace("{rules}", rules)
    return FileServer(
        *("nginx", "nginx -v", what, argv, config),
        is_proxy=kind == "cache",
        is_cheap=is_cheap,
    )


_RANGES = "sends ranges"
_NO_IF_RANGE = "sends ranges, ignores If-Range"
_WHOLE = "ignores ranges: whole files, each once"

SERVERS = [
    _nginx("plain", _RANGES, is_cheap=True),
    _nginx("gzip", "compresses for clients that accept it"),
    _nginx("cache", "a cache that begins late"),
    FileServer(
        *("apache", "apache2 -v", "compresses text for clients that accept it"),
        ("apache2", "-X", "-f", "{work}/config"),
        _APACHE,
    ),
    FileServer(
        *("lighttpd", "lighttpd -v", _RANGES),
        ("lighttpd", "-D", "-f", "{work}/config"),
        _LIGHTTPD,
    ),
    FileServer(
        *("caddy", "caddy version", "compresses for clients that accept it"),
        ("caddy", "run", "--adapter", "caddyfile", "--config", "{work}/config"),
        _CADDY,
    ),
    FileServer(
        *("h2o", "h2o -v", _NO_IF_RANGE),
        ("h2o", "-c", "{work}/config"),
        _H2O,
    ),
    FileServer(
        *("webfs", "dpkg:webfs", "sends ranges, no ETag"),
        ("webfsd", "-F", "-i", "127.0.0.1", "-p", "{port}", "-r", "{root}"),
    ),
    FileServer(
        *("busybox httpd", "dpkg:busybox", "sends ranges, 200 past the end"),
        ("busybox", "httpd", "-f", "-p", "127.0.0.1:{port}", "-h", "{root}"),
    ),
    FileServer(
        *("mini-httpd", "dpkg:mini-httpd", _WHOLE),
        ("mini_httpd", "-D", "-h", "127.0.0.1", "-p", "{port}", "-d", "{root}"),
    ),
    FileServer(
        *(
            "rclone serve http",
            "rclone version",
            "sends ranges, a wrong length in 416",
        ),
        ("rclone", "serve", "http", "--addr", "127.0.0.1:{port}", "{root}"),
    ),
    FileServer(
        *("rclone serve webdav", "rclone version", "webdav://, read as HTTP"),
        ("rclone", "serve", "webdav", "--addr", "127.0.0.1:{port}", "{root}"),
        url="webdav://127.0.0.1:{port}/",
    ),
    FileServer(
        *("php -S", "php --version", _WHOLE),
        ("php", "-q", "-S", "127.0.0.1:{port}", "-t", "{root}"),
    ),
    FileServer(
        *("python -m http.server", "python", _WHOLE),
        (sys.executable, "-m", "http.server", "--bind", "127.0.0.1")
        + ("--directory", "{root}", "{port}"),
        is_cheap=True,
    ),
    _app("flask", "flask", "labels stored .gz as compressed", is_cheap=True),
    _app("aiohttp", "aiohttp", _NO_IF_RANGE, is_cheap=True),
    _app(
        *("micro_httpd", "", "whole files, without their length"),
        version="dpkg:micro-httpd",
    ),
    _app("starlette", "starlette", _RANGES),
    _app("starlette_gzip", "starlette", "compresses for clients that accept it"),
    _app("django", "django", _WHOLE + "; labels stored .gz as compressed"),
    _app(
        *("wsgidav", "wsgidav", "webdav://, read as HTTP"),
        url="webdav://127.0.0.1:{port}/",
    ),
    _app(
        *("pyftpdlib", "pyftpdlib", "FTP, several reads at once"),
        url="ftp://ann:secret@127.0.0.1:{port}/",
        is_cheap=True,
    ),
    _app(
        *("asyncssh", "asyncssh", "SFTP, several reads at once"),
        url="sftp://ann:secret@127.0.0.1:{port}/",
        is_cheap=True,
    ),
    _node("serve", _NO_IF_RANGE, "-L", "-n", "-l", "tcp://127.0.0.1:{port}", "{root}"),
    _node("http-server", _NO_IF_RANGE, "{root}", "-a", "127.0.0.1", "-p", "{port}"),
    _node(
        *("sirv-cli", "labels stored .gz as compressed"),
        *("{root}", "--host", "127.0.0.1", "--port", "{port}"),
    ),
    FileServer(
        *("s3rver", "npm:s3rver", "s3://, ignores If-Range"),
        (str(_BIN / "s3rver"), "-d", "{work}", "-a", "127.0.0.1", "-p", "{port}"),
        url="s3://bucket/some things/",
        is_bucket=True,
        env={
            "AWS_ENDPOINT_URL": "http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "S3RVER",
            "AWS_SECRET_ACCESS_KEY": "S3RVER",
            "AWS_DEFAULT_REGION": "us-east-1",
        },
    ),
    FileServer(
        *("varnish", "varnishd -V", "a cache that reads the whole file behind"),
        ("varnishd", "-F", "-n", "{work}/n", "-a", "127.0.0.1:{port}")
        + ("-f", "{work}/config", "-s", "malloc,64m", "-j", "none"),
        _VCL,
        is_proxy=True,
    ),
    FileServer(
        *("haproxy", "haproxy -v", "compresses what a server behind it sends"),
        ("haproxy", "-db", "-f", "{work}/config"),
        _HAPROXY,
        is_proxy=True,
    ),
    FileServer(
        *(
            "squid",
            "squid --version",
            "HTTP_PROXY for origins of the user",
        ),
        ("squid", "-N", "-f", "{work}/config"),
        _SQUID,
        url="http://127.0.0.1:{behind}/",
        is_proxy=True,
        env={"http_proxy": "http://127.0.0.1:{port}"},
    ),
]


@contextmanager
def serving_files(
    server: FileServer, root: Path, work: Path
) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a folder; yield the URL and the variables for shoal.

    `work` is a folder for the server's own files.
    """
    with ExitStack() as stack:
        names = {"root": root, "work": work, "port": free_port(), "behind": 0}
        if server.is_proxy:
            plain = next(each for each in SERVERS if each.is_cheap)
            (work / "plain").mkdir()
            behind = stack.enter_context(serving_files(plain, root, work / "plain"))
            names["behind"] = behind[0].rpartition(":")[2].strip("/")
        (work / "config").write_text(server.config.format(**names))
        argv = [word.format(**names) for word in server.argv]
        assert which(argv[0]), f"{argv[0]} is not installed"
        program = stack.enter_context(Program(argv, cwd=work))
        port = names["port"]
        assert isinstance(port, int)
        wait_listening(port, lambda: program.running)
        env = {key: text.format(**names) for key, text in server.env.items()}
        if server.is_bucket:
            found = {each.path: each.content for each in list_folder(root)}
            with pytest.MonkeyPatch.context() as patch:
                for name, value in env.items():
                    patch.setenv(name, value)
                files = {f"some things/{name}": data for name, data in found.items()}
                put_into(env["AWS_ENDPOINT_URL"], "bucket", files)
        yield server.url.format(**names), env
