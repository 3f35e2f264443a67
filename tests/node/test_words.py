"""Errors of the Python API name its arguments, and the command line its flags."""

import ast
import re
from pathlib import Path

import pytest

import shoal
from shoal.errors import option, run_again, told, use_command_line_words
from tests.helpers.fetching import here

SOURCE = Path(shoal.__file__).parent
COMMAND = ("cli", "doctor", "gateway", "errors.py", "config", "__main__.py")
"""What speaks only to users of the command line, and what has words for both."""


def test_an_option_is_named_as_its_user_writes_it() -> None:
    texts = ("--peer", "HOST:PORT"), ("--chunk-size", 64), ("-f", None)
    assert [option(*each) for each in texts] == [
        'peers="HOST:PORT"',
        "chunk_size=64",
        "the argument overwrite",
    ]
    with use_command_line_words():
        assert [option(*each) for each in texts] == [
            "--peer HOST:PORT",
            "--chunk-size 64",
            "-f",
        ]
        assert (told("a", "b"), run_again()) == ("a", "run the command again")
    assert (told("a", "b"), run_again()) == ("b", "call it again")


async def test_errors_of_calls_name_their_arguments(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    async with shoal.Node(here()) as node:
        share = await node.share(tmp_path / "file")
        with pytest.raises(shoal.TargetExistsError, match="the argument overwrite"):
            await node.fetch(share.link, tmp_path / "file")
        link = shoal.Link(bytes(32))
        with pytest.raises(shoal.NotFoundError, match='peers="HOST:PORT"'):
            await node.fetch(link, tmp_path / "out", timeout=0.5)
        with pytest.raises(shoal.UsageError, match="the argument origins"):
            await node.share(tmp_path / "file", origins="nowhere")


def _texts(path: Path) -> list[str]:
    """Return the constant texts in a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    docs = {id(n.value) for n in nodes if isinstance(n, ast.Expr)}
    told = {
        id(argument)
        for n in nodes
        if isinstance(n, ast.Call)
        and isinstance(n.func, ast.Name)
        and n.func.id in ("option", "told")
        for argument in n.args
    }
    return [
        n.value
        for n in nodes
        if isinstance(n, ast.Constant)
        and isinstance(n.value, str)
        and id(n) not in docs | told
    ]


def test_no_message_of_the_library_names_a_flag_directly() -> None:
    found = [
        (str(path.relative_to(SOURCE)), text)
        for path in SOURCE.rglob("*.py")
        if not str(path.relative_to(SOURCE)).startswith(COMMAND)
        for text in _texts(path)
        if re.search(
            r"(^| )--[a-z]|run the command|\bshoal (ls|get|chunk|seed)\b", text
        )
    ]
    assert found == []
