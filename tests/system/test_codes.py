"""`share --code` and `get CODE` as two processes that find each other on the LAN."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import code_of, mistyped
from tests.helpers.events import lines_of, variant_of
from tests.helpers.netns import Namespace
from tests.helpers.process import Finished, Program
from tests.helpers.programs import shoal

NETWORK = {"SHOAL_INTERFACES": "lo", "SHOAL_LAN_ONLY": "1"}


@pytest.fixture
def source(make_file: MakeFile) -> Path:
    return make_file(300_000, 5)


@contextmanager
def sharing(source: Path, namespace: Namespace, *args: object) -> Iterator[Program]:
    """Share a file with a code, in a namespace with LAN discovery."""
    words = ("share", source, "--code", *args)
    with shoal(*words, ns=namespace, env=NETWORK) as program:
        program.wait_line("Ctrl-C|^Sharing", stream="err")
        yield program


def get(namespace: Namespace, *args: object) -> Finished:
    with shoal("get", *args, ns=namespace, env=NETWORK) as program:
        return program.finish(40)


def test_a_share_is_fetched_by_its_code(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with sharing(source, namespace) as program:
        code = code_of(program)
        ended = get(namespace, code, "-o", tmp_path / "copy")
        assert (ended.code, ended.stdout) == (0, f"{tmp_path / 'copy'}\n".encode())
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()
        program.wait_line("The code was used, and has ended.", stream="err")
        assert program.running, "the link still works"


@pytest.mark.parametrize("form", ["upper", "spaces", "input", "one argument"])
def test_a_code_may_be_entered_in_many_forms(
    form: str, namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with sharing(source, namespace) as program:
        code, out = code_of(program), ("-o", tmp_path / "copy")
        match form:
            case "upper":
                ended = get(namespace, code.upper(), *out)
            case "spaces":
                ended = get(namespace, *code.split("-"), *out)
            case "one argument":
                ended = get(namespace, f" {code.title().replace('-', '  ')} ", *out)
            case _:
                words = ("get", "-", *out)
                with shoal(*words, ns=namespace, env=NETWORK, has_input=True) as reader:
                    reader.write_line(code)
                    ended = reader.finish(40)
        assert ended.code == 0, ended.stderr
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_wrong_codes_are_told_to_both_ends_and_the_third_ends_the_code(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with sharing(source, namespace) as program:
        code, out = code_of(program), ("-o", tmp_path / "copy")
        for said, heard in (
            ("It can be entered wrongly 2 more times", "after 2 more wrong codes"),
            ("It can be entered wrongly once more", "after 1 more wrong code,"),
            ("ended because it was entered wrongly 3 times", "The code has ended"),
        ):
            ended = get(namespace, mistyped(code), *out)
            assert ended.code == 8
            last = ended.stderr.splitlines()[-1]
            assert re.match(f"shoal: The code is wrong.*{said}", last), last
            program.wait_line(heard, stream="err")
        ended = get(namespace, code, *out, "--timeout", 2)
        assert ended.code == 3
        assert "No node that offers this code answered" in ended.stderr
        assert not (tmp_path / "copy").exists()
        assert program.running, "the link still works"


def test_a_code_ends_after_the_time_of_code_for(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with sharing(source, namespace, "--code-for", "0.5s") as program:
        code = code_of(program)
        program.wait_line("shoal: The time of the code is over.", stream="err")
        ended = get(namespace, code, "-o", tmp_path / "copy", "--timeout", 1)
        assert ended.code == 3


def test_a_time_of_codes_in_a_variable_makes_no_code(
    namespace: Namespace, source: Path
) -> None:
    env = {**NETWORK, "SHOAL_CODE_FOR": "1h"}
    with shoal("share", source, ns=namespace, env=env) as program:
        program.wait_line("Ctrl-C", stream="err")
        program.send(signal.SIGINT)
        assert program.finish().stdout.count(b"\n") == 1


def test_with_once_share_ends_after_the_receiver_of_the_code(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with sharing(source, namespace, "--once") as program:
        assert get(namespace, code_of(program), "-o", tmp_path / "copy").code == 0
        assert program.finish().code == 0


def test_the_json_lines_tell_of_the_code(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with shoal(
        *("share", source, "--code", "--json"), ns=namespace, env=NETWORK
    ) as program:
        start = json.loads(program.wait_line('"start"', stream="out").string)
        out = ("-o", tmp_path / "copy", "--json")
        refused = get(namespace, mistyped(start["code"]), *out)
        assert lines_of(refused.stdout)[-1]["code"] == 8
        lines = lines_of(get(namespace, start["code"], *out).stdout)
        program.wait_line('"used"', stream="out")
        program.send(signal.SIGINT)
        shared = lines_of(program.finish().stdout)
    for line in (*lines, *shared):
        variant_of(line)
    (redeemed,) = (line for line in lines if line["event"] == "code")
    assert redeemed["state"] == "redeemed"
    assert redeemed["link"].startswith(start["link"] + ",peer=")
    told = [line for line in shared if line["event"] == "code"]
    assert [line["state"] for line in told] == ["wrong", "used"]
    assert [line["guesses_left"] for line in told] == [2, 2]
    assert [line["receivers_left"] for line in told] == [1, 0]


def test_a_download_by_code_is_resumed_by_the_link(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    with sharing(source, namespace) as program:
        words = (*code_of(program).split("-"), "--limit-down", "1K")
        with shoal(
            *("get", *words, "-o", tmp_path / "copy"), ns=namespace, env=NETWORK
        ) as reader:
            reader.wait_line("The code is right.", stream="err")
            reader.send(signal.SIGINT)
            ended = reader.finish()
        assert ended.code == 130
        again = "Run this again to resume: shoal get (shoal:\\S+) (.*)$"
        match = re.search(again, ended.stderr)
        assert match is not None, ended.stderr
        assert match[2] == f"--limit-down 1K -o {tmp_path / 'copy'}"
        resumed = get(namespace, match[1], "-o", tmp_path / "copy")
        assert resumed.code == 0, resumed.stderr
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_an_error_after_the_code_names_the_link(
    namespace: Namespace, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "copy").touch()
    with sharing(source, namespace) as program:
        ended = get(namespace, code_of(program), "-o", tmp_path / "copy")
        assert ended.code == 6
        again = "The code may be used up; next time, run: shoal get (shoal:\\S+) -o "
        match = re.search(again, ended.stderr)
        assert match is not None, ended.stderr
        assert get(namespace, match[1], "-o", tmp_path / "copy", "-f").code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "4821-purity-carbn-olympic"], "carbn is not .*did you mean carbon"),
        (["get", "4821-purity-carbon-olympic", "x", "y"], "y is one argument too many"),
        (["get", "team", "notes", "-o", "x"], "notes is one argument too many"),
        (["ls", "4821-purity-carbon-olympic"], "This is a code.*write channel:4821"),
        (["chunk", "4821-purity-carbon-olympic", "0"], "This is a code, not a link"),
        (["share", ".", "--open", "4821-a-b-c"], "would be read as a code"),
        (["share", ".", "--open", "--code"], "--code is not for open channels"),
        (["share", ".", "--code", "--code-for", "x"], "not a length of time"),
    ],
)
def test_what_is_no_code_ends_with_exit_code_2_and_one_sentence(
    words: list[str], message: str
) -> None:
    ended = shoal(*words, env={**NETWORK, "SHOAL_NO_LAN": "1"}).finish()
    assert (ended.code, ended.stdout) == (2, b"")
    assert re.fullmatch(f"shoal: .*{message}.*\n", ended.stderr), ended.stderr
