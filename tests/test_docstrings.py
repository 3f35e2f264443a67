"""Every public name has a docstring, and every example in a docstring runs.

An example is code in a fence, or code with a call between backquotes. Each callable
with parameters must have one. The examples run against a real share, with the names
that they use defined: `link`, `id`, `node`, `file`, `share` and others.
"""

import ast
import asyncio
import inspect
import io
import os
import re
import shutil
import socket
import tarfile
import textwrap
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import shoal
from shoal.integrations.fsspec import ShoalFile, ShoalFileSystem
from shoal.storage.catalogue import Catalogue
from shoal.storage.disk.disk import Disk
from shoal.storage.home import user_home
from tests.helpers.safetensors import write_safetensors
from tests.helpers.sharing import LOOPBACK, near, sharing

FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
WAITS = re.compile(r"\.(shared|wait)\(\)")


class Documented(NamedTuple):
    """A public object with a docstring."""

    name: str
    owner: str
    """The class of a method; otherwise empty."""
    thing: Any

    @property
    def examples(self) -> list[str]:
        """Return all examples in its docstring."""
        text = inspect.getdoc(self.thing) or ""
        found = [textwrap.dedent(code) for code in FENCE.findall(text)]
        for span in FENCE.sub("", text).split("`")[1::2]:
            code = " ".join(span.split())
            if "(" in code:
                found.append(f"{code} pass" if code.endswith(":") else code)
        return found

    @property
    def has_parameters(self) -> bool:
        """Return True if it is a function with parameters."""
        if not inspect.isfunction(self.thing):
            return False
        names = inspect.signature(self.thing).parameters
        return bool(set(names) - {"cls", "self"})


def documented() -> Iterator[Documented]:
    """Yield all public names, and the methods of the classes among them."""
    yield Documented("shoal", "", shoal)
    things = [getattr(shoal, name) for name in dir(shoal)]
    for thing in (*things, ShoalFileSystem, ShoalFile):
        if inspect.isfunction(thing):
            yield Documented(thing.__name__, "", thing)
        if inspect.isclass(thing):
            yield Documented(thing.__name__, thing.__name__, thing)
            yield from methods(thing)


def methods(thing: type) -> Iterator[Documented]:
    """Yield the public methods and properties that shoal defines for a class."""
    for base in thing.__mro__:
        if not base.__module__.startswith("shoal"):
            continue
        for name, value in vars(base).items():
            function = getattr(value, "__func__", getattr(value, "fget", value))
            if not name.startswith("_") and inspect.isfunction(function):
                yield Documented(f"{thing.__name__}.{name}", thing.__name__, function)


ALL = list(documented())
WITH_EXAMPLES = [each for each in ALL if each.examples]


@pytest.fixture(scope="module")
def shared(shared_folder: Path) -> Iterator[shoal.BlockingShare]:
    """Share the folder, from a separate thread."""
    with sharing() as share:
        yield share(shared_folder)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the files that the examples name."""
    top = tmp_path_factory.mktemp("shared") / "photos"
    top.mkdir()
    (top / "a.txt").write_text("".join(f"line {i}\n" for i in range(5000)))
    (top / "notes.txt").write_text("all is well\n")
    write_safetensors(top / "model.safetensors")
    with zipfile.ZipFile(top / "logs.zip", "w") as archive:
        archive.writestr("today.txt", "all is well\n")
    frame = import_module("pandas").DataFrame({"price": [1.0, 2.0]})
    frame.to_parquet(top / "data.parquet")
    return top


@pytest.fixture
def here(tmp_path: Path, shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a fresh folder with files to share, and use the loopback only."""
    shutil.copytree(shared_folder, tmp_path / "photos")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/one").write_bytes(b"1" * 100_000)
    (tmp_path / "notes.txt").write_text("all is well\n")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SHOAL_PORT", str(sock.getsockname()[1]))
    monkeypatch.setenv("SHOAL_LAN_ONLY", "1")
    monkeypatch.setenv("SHOAL_NO_LAN", "1")
    monkeypatch.setenv("SHOAL_INTERFACES", "127.0.0.1")
    return tmp_path


@asynccontextmanager
async def surroundings(
    owner: str, shared: shoal.BlockingShare
) -> AsyncIterator[dict[str, Any]]:
    """Yield the names that the examples of a class use."""
    share_id = str(shared.link).removeprefix("shoal:")
    names: dict[str, Any] = {
        **{m.__name__: m for m in (asyncio, io, os, shoal, tarfile, zipfile)},
        "aclosing": aclosing,
        "pandas": import_module("pandas"),
        "fsspec": import_module("fsspec"),
        "link": shared.link,
        "text": str(shared.link),
        "id": share_id,
        "path": f"{share_id}/a.txt",
        "paths": [f"{share_id}/a.txt", f"{share_id}/notes.txt"],
        "buffer": bytearray(10),
        "manifest": shared.manifest,
        "page": shared.manifest.page(next(shared.manifest.keys())),
        "key": next(shared.manifest.keys()),
        "file": shared.manifest.find("a.txt"),
    }
    fields = near(shared)
    async with AsyncExitStack() as stack:
        if owner in ("Node", "AsyncFile"):
            sharer = await stack.enter_async_context(shoal.Node(**LOOPBACK, port=0))
            channel = await sharer.share_open("notes.txt", "team-notes")
            coded = await sharer.share("model/", code=True)
            names["code"] = coded.code
            fields["peers"] += f",127.0.0.1:{channel.port},127.0.0.1:{coded.port}"
            node = await stack.enter_async_context(shoal.Node(**fields, port=0))
            names["node"] = node
            catalogue = Catalogue.of_home(user_home(), Disk())
            (names["entry"],) = catalogue.at(Path("model/"))
        if owner == "AsyncFile":
            opening = names["node"].open(shared.link, "a.txt")
            names["file"] = await stack.enter_async_context(opening)
        if owner == "SealedShare":
            node = await stack.enter_async_context(shoal.Node())
            names["share"] = await node.share("model/")
        if owner == "BlockingShare":
            names["share"] = await asyncio.to_thread(shoal.share, "model/")
            stack.callback(names["share"].close)
        if owner == "BlockingFile":
            open_file = shoal.open
            opened = await asyncio.to_thread(
                lambda: open_file(shared.link, "a.txt", **fields, port=0)
            )
            names["file"] = stack.enter_context(opened)
        if owner.startswith("ShoalFile"):
            names["fs"] = ShoalFileSystem(**fields, port=0)
            names["file"] = names["fs"].open(names["path"])
            stack.callback(names["file"].close)
        yield names


async def run(code: str, names: dict[str, Any]) -> None:
    """Run code that may use `await` at its top level."""
    compiled = compile(code, "<docstring>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        await eval(compiled, names)
    else:
        await asyncio.to_thread(eval, compiled, names)


async def friend(code: str, here: Path) -> None:
    """If an example waits for a download, fetch what it shares."""
    if not WAITS.search(code):
        return
    # Sharing the same files again gives the same link.
    async with shoal.Node(port=0) as node:
        link = (await node.share("model/")).link
    peers = f"127.0.0.1:{os.environ['SHOAL_PORT']}"
    async with shoal.Node(port=0, peers=peers) as node:
        await node.fetch(link, here / "friend")


@pytest.mark.parametrize("each", WITH_EXAMPLES, ids=lambda each: each.name)
async def test_a_docstring_example_runs(
    each: Documented,
    shared: shoal.BlockingShare,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "\n".join(each.examples)
    code = code.replace("192.0.2.7:4001", f"127.0.0.1:{shared.port}")
    if not WAITS.search(code):
        monkeypatch.setenv("SHOAL_PEER", f"127.0.0.1:{shared.port}")
        monkeypatch.setenv("SHOAL_PORT", "0")
    async with asyncio.timeout(30), surroundings(each.owner, shared) as names:
        async with asyncio.TaskGroup() as group:
            group.create_task(friend(code, here))
            await run(code, names)
    ShoalFileSystem.clear_instance_cache()


@pytest.mark.parametrize("each", ALL, ids=lambda each: each.name)
def test_a_callable_with_parameters_has_an_example(each: Documented) -> None:
    assert inspect.getdoc(each.thing)
    assert each.examples or not each.has_parameters


async def test_a_broken_docstring_example_fails() -> None:
    def wrong() -> None:
        """Do nothing: `wrong(1)`."""

    (code,) = Documented("wrong", "", wrong).examples
    with pytest.raises(TypeError):
        await run(code, {"wrong": wrong})
