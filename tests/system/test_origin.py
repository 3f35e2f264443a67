"""Origins from the command line, with a real nginx, as in docs/tasks/origin.md."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from shoal.core.names.link import Link
from tests.conftest import MakeFile
from tests.helpers.certificate import local_context
from tests.helpers.commands import LOOPBACK, free_port, link_of, peer_of, run, share
from tests.helpers.folders import list_folder
from tests.helpers.netns import Namespace
from tests.helpers.nginx import missing_nginx, nginx
from tests.helpers.process import Program
from tests.helpers.programs import shoal
from tests.helpers.requirements import require
from tests.helpers.s3 import put_into, s3_server
from tests.helpers.web_origin import web_origin_beside

NODES = 8
SIZE = 16 * 1024 * 1024
RATE = 10_000_000  # bytes per second that the origin allows
CHUNK = 65_536
LINK = str(Link(bytes(32)))
_SHARE = """
import asyncio, sys, shoal
async def main(path, url):
    async with shoal.Node() as node:
        await node.share(path, origins=[url])
try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start an S3 server that child processes find too; return its address."""
    with s3_server(monkeypatch) as address:
        yield address


def test_eight_nodes_fetch_little_more_than_one_copy_from_a_slow_origin(
    namespace: Namespace, make_file: MakeFile, tmp_path: Path
) -> None:
    """A peer sent the manifest and left, so the origin is their only source."""
    require(missing_nginx())
    path = make_file(SIZE, 3)
    proxy = [sys.executable, "-m", "tests.helpers.slow_line", "8081", "8080", str(RATE)]
    env = {"SHOAL_INTERFACES": "lo", "SHOAL_LAN_ONLY": "1"}
    url = f"http://127.0.0.1:8081/{path.name}"
    with ExitStack() as stack:
        server = stack.enter_context(
            nginx(path.parent, tmp_path / "nginx", 8080, namespace)
        )
        line = stack.enter_context(Program(proxy, namespace=namespace))
        line.wait_line("ready")
        sharing = stack.enter_context(
            shoal("share", path, "--limit-up", 1, ns=namespace, env=env)
        )
        link = link_of(sharing)
        nodes = [
            stack.enter_context(
                shoal(
                    *("get", link, "-o", tmp_path / str(n), "--origin", url, "--json"),
                    *("--timeout", 10),
                    ns=namespace,
                    env=env,
                )
            )
            for n in range(NODES)
        ]
        for node in nodes:
            node.wait_line('"event":"start"')
        sharing.kill()
        for node in nodes:
            assert node.finish(60).code == 0
        sent = server.sent()
    for n in range(NODES):
        assert (tmp_path / str(n)).read_bytes() == path.read_bytes()
    assert sum(sent) <= 1.2 * SIZE
    assert sum(sent) > 0.8 * SIZE, "a peer sent more than it should have"


def test_the_link_includes_the_origins_url(make_file: MakeFile) -> None:
    path = make_file(9 * CHUNK + 5, 4)
    with web_origin_beside({"f": path.read_bytes()}) as origin:
        with share(path, "--origin", origin.url + "f") as sharing:
            link = link_of(sharing)
            assert re.search(r",origin=http%3A%2F%2F127.0.0.1%3A\d+%2Ff$", link)
            assert "contains the origin's URL" in sharing.stderr
            # One byte before hashing shows the size; one chunk after it is compared.
            assert len(origin.asked) == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_link_with_origins_can_be_pasted_into_a_shell(
    shell: str, make_file: MakeFile
) -> None:
    path = make_file(CHUNK, 4)
    with web_origin_beside({"f": path.read_bytes()}) as origin:
        url = origin.url + "f"
        origins = ("--origin", url + "?a&b=c;d", "--origin", url + "?'(~)*[x]!")
        with share(path, *origins) as sharing:
            link = link_of(sharing)
    code = f"cd /; printf '%s\\n' {link}"
    echoed = subprocess.run(
        [shell, "-c", code], capture_output=True, text=True, check=True
    )
    assert echoed.stdout == link + "\n"


def test_share_says_which_origins_receivers_will_not_use(make_file: MakeFile) -> None:
    path = make_file(CHUNK, 4)
    with web_origin_beside({"f": path.read_bytes()}) as origin:
        origins = ("--origin", origin.url + "f?secret", "--origin", f"file://{path}")
        with share(path, *origins) as sharing:
            link_of(sharing)
            said = sharing.stderr
    unused = "Receivers do not use the origin"
    assert f"{unused} {origin.url[:-1]} from the link alone, because it is not" in said
    assert f"{unused} file:// from the link alone. Receivers can name it with" in said
    assert "secret" not in said


def test_ssl_cert_file_names_the_certificates_to_trust(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path, certificate = make_file(CHUNK, 4), tmp_path / "pem"
    context = local_context(certificate)
    with web_origin_beside({"f": path.read_bytes()}, context) as origin:
        url = f"https://localhost:{origin.port}/f"
        with run("share", path, "--origin", url) as sharing:
            code, _, err = sharing.finish()
        assert (code, origin.asked) == (1, [])
        assert "certificate verify failed" in err
        env = {"SSL_CERT_FILE": str(certificate)}
        with run("share", path, "--origin", url, env=env) as sharing:
            link_of(sharing)
        assert origin.asked


def truncated(data: bytes) -> bytes:
    return data[:-1]


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            truncated,
            "does not have the files you share: its file has 589,828 B there",
        ),
        (zeros, "has files that differ from the ones you share"),
        (None, "does not have the files you share: it answers 404"),
    ],
)
def test_an_origin_with_other_files_is_refused(
    change: Callable[[bytes], bytes] | None, message: str, make_file: MakeFile
) -> None:
    path = make_file(9 * CHUNK + 5, 4)
    files = {} if change is None else {"f": change(path.read_bytes())}
    with web_origin_beside(files) as origin:
        with run("share", path, "--origin", origin.url + "f?secret") as sharing:
            code, out, err = sharing.finish()
        assert (code, out) == (5, b"")
        assert f"The origin {origin.url[:-1]} {message}" in err
        assert "secret" not in err


def test_an_unreachable_origin_is_refused(make_file: MakeFile) -> None:
    url = f"http://127.0.0.1:{free_port()}/f"
    code, out, err = run("share", make_file(CHUNK, 4), "--origin", url).finish()
    assert (code, out) == (1, b"")
    assert "cannot be used: no connection" in err


@contextmanager
def get_after_manifest(link: str, sharing: Program, *args: object) -> Iterator[Program]:
    """Start `get` for a share whose only peer leaves after sending the manifest."""
    with run("get", link, "--peer", peer_of(sharing), "--json", *args) as getting:
        getting.wait_line('"event":"start"')
        sharing.kill()
        yield getting


def test_an_origin_in_a_link_is_used_if_shoal_is_confined_to_its_network(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path, out = make_file(40 * CHUNK, 4), tmp_path / "out"
    with web_origin_beside({"f": path.read_bytes()}) as origin:
        with share(path, "--origin", origin.url + "f", "--limit-up", 1) as sharing:
            link = link_of(sharing)
            with get_after_manifest(link, sharing, "-o", out) as getting:
                assert getting.finish().code == 0
    assert out.read_bytes() == path.read_bytes()


def test_the_exit_code_is_5_if_the_only_source_sends_wrong_chunks(
    make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(40 * CHUNK, 4)
    with web_origin_beside({"f": bytes(40 * CHUNK)}) as origin:
        args = ("--origin", origin.url + "f", "--timeout", 2)
        with share(path, "--limit-up", 1) as sharing:
            link = link_of(sharing)
            with get_after_manifest(
                link, sharing, *args, "-o", tmp_path / "out"
            ) as getting:
                code, out, err = getting.finish()
    assert code == 5
    event = json.loads(out.splitlines()[-1])
    assert (event["event"], event["code"]) == ("error", 5)
    assert (
        f"The origin {origin.url[:-1]} sent a chunk that does not match the id"
    ) in err


def test_an_unreachable_origin_is_named_if_no_other_source_is_left(
    make_file: MakeFile, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    path = make_file(40 * CHUNK, 4)
    with share(path, "--limit-up", 1) as sharing:
        link = link_of(sharing)
        args = ("--origin", url + "f?secret", "--timeout", 3, "-o", tmp_path / "out")
        with get_after_manifest(link, sharing, *args) as getting:
            code, out, err = getting.finish()
    # The peer may have sent a chunk before it was killed.
    events = map(json.loads, out.splitlines())
    has_some = any(e["event"] == "progress" and e["done"] for e in events)
    assert code == (7 if has_some else 3)
    assert f"The origin {url[:-1]} cannot be used: no connection" in err
    assert "secret" not in err.replace("--origin", "").split("Run this again")[0]


def test_the_commands_on_the_page_about_origins_work(
    tmp_path: Path, make_file: MakeFile, s3: str
) -> None:
    """The commands run with our own servers in place of example.com."""
    model = tmp_path / "model"
    model.mkdir()
    files = {"config.json": b"{}", "weights/a b.bin": make_file(SIZE, 7).read_bytes()}
    for name, data in files.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(data)
    put_into(s3, "bucket", {f"model/{name}": data for name, data in files.items()})
    page = (Path(__file__).parents[2] / "docs/tasks/origin.md").read_text()
    lines = "".join(re.findall(r"^```sh\n(.*?)^```$", page, re.M | re.S)).splitlines()
    served = {f"model/{name}": data for name, data in files.items()}
    with ExitStack() as stack:
        origin = stack.enter_context(web_origin_beside(served))
        env: dict[str, str] = {}
        link = ""
        (tmp_path / "srv").mkdir()
        for line in lines:
            line = line.replace("LINK", link).replace("/srv/", f"{tmp_path}/srv/")
            words = line.replace("https://example.com/", origin.url).split()
            program = stack.enter_context(run(*words[1:], env=env, cwd=tmp_path))
            if words[1] == "share":
                link = link_of(program)
                env = {"SHOAL_PEER": peer_of(program)}
                continue
            code, out, err = program.finish()
            assert code == 0, (line, err)
            if words[1] == "cat":
                assert out == files["config.json"]
            else:
                assert list_folder(Path(out.decode().strip())) == list_folder(model)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["get", "a-channel", "--origin", "http://h/"],
            "--origin is not for open channels",
        ),
        (["get", LINK, "--origin", "nonsense"], "is a URL"),
        (["share", __file__, "--origin", "nonsense"], "is a URL"),
        (["share", __file__, "--open", "--origin", "http://h/"], "leave it out"),
        (["share", __file__, *["--origin", "http://h/"] * 5], "remove some"),
        (["cat", LINK + "?origin=nonsense"], "is a URL"),
    ],
)
def test_invalid_uses_of_origins_exit_with_code_2(
    words: list[str], message: str
) -> None:
    with run(*words, "-o", "x") if words[0] == "get" else run(*words) as program:
        code, out, err = program.finish()
    assert (code, out) == (2, b"")
    assert message in err


@pytest.mark.parametrize("scheme", ["http", "ftp", "sftp", "s3"])
def test_an_origin_that_never_answers_does_not_delay_the_end(
    scheme: str, make_file: MakeFile
) -> None:
    """Libraries for some protocols wait in a thread, without a limit.

    A program with an event loop of its own waits at its end for the threads of the loop
    and of `concurrent.futures`; the command does not.
    """
    path = make_file(CHUNK, 3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        url = f"{scheme}://ann:secret@{host}/{path.name}"
        env = {}
        if scheme == "s3":
            url = f"s3://bucket/{path.name}"
            env = {"AWS_ENDPOINT_URL": f"http://{host}", "AWS_ACCESS_KEY_ID": "a"}
            env["AWS_SECRET_ACCESS_KEY"] = "b"
        argv = [sys.executable, "-c", _SHARE, str(path), url]
        with Program(argv, env={**os.environ, **LOOPBACK, **env}) as sharing:
            connection, _ = silent.accept()
            with connection:
                sharing.send(signal.SIGINT)
                assert sharing.finish().stdout == b"interrupted\n"
