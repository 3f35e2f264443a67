"""Serve a folder with a Python framework, for tests of origins.

python apps.py FRAMEWORK FOLDER PORT
"""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

__all__: list[str] = []


def flask(folder: Path, port: int) -> None:
    """Send files with Flask, which labels stored .gz files as compressed."""
    from flask import Flask, Response, send_from_directory

    app = Flask("files")

    @app.get("/<path:path>")
    def send(path: str) -> Response:
        return send_from_directory(folder, path)

    app.run("127.0.0.1", port)


def starlette(folder: Path, port: int) -> None:
    """Serve static files with Starlette and uvicorn."""
    import uvicorn
    from starlette.staticfiles import StaticFiles

    uvicorn.run(StaticFiles(directory=folder), host="127.0.0.1", port=port)


def starlette_gzip(folder: Path, port: int) -> None:
    """Serve static files with Starlette, compressed for those who accept that."""
    import uvicorn
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.staticfiles import StaticFiles

    app = GZipMiddleware(StaticFiles(directory=folder))
    uvicorn.run(app, host="127.0.0.1", port=port)


def django(folder: Path, port: int) -> None:
    """Serve static files with Django's view, which ignores ranges."""
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.urls import re_path
    from django.views.static import serve

    urls = [re_path(r"^(?P<path>.*)$", serve, {"document_root": folder})]
    settings.configure(ROOT_URLCONF=tuple(urls), ALLOWED_HOSTS=["*"], DEBUG=False)
    execute_from_command_line(["x", "runserver", "--noreload", f"127.0.0.1:{port}"])


def aiohttp(folder: Path, port: int) -> None:
    """Serve static files with aiohttp."""
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/", folder)
    web.run_app(app, host="127.0.0.1", port=port)


def wsgidav(folder: Path, port: int) -> None:
    """Serve a folder by WebDAV."""
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp

    config = {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": True}},
        "logging": {"enable": False},
    }
    wsgi.Server(("127.0.0.1", port), WsgiDAVApp(config)).start()


def micro_httpd(folder: Path, port: int) -> None:
    """Run micro-httpd for each connection, as inetd does."""
    argv = ["/usr/sbin/micro-httpd", str(folder)]
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            with client:
                subprocess.run(argv, stdin=client.fileno(), stdout=client.fileno())


def pyftpdlib(folder: Path, port: int) -> None:
    """Serve a folder by FTP, to the user `ann` with the password `secret`."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    authorizer = DummyAuthorizer()
    authorizer.add_user("ann", "secret", str(folder))
    FTPHandler.authorizer = authorizer
    FTPServer(("127.0.0.1", port), FTPHandler).serve_forever()


def asyncssh(folder: Path, port: int) -> None:
    """Serve a folder by SFTP, to the user `ann` with the password `secret`."""
    import asyncssh

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("ann", "secret")

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
            super().__init__(channel, chroot=bytes(folder))

    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        await asyncssh.create_server(
            Server, "127.0.0.1", port, server_host_keys=[key], sftp_factory=Files
        )
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
