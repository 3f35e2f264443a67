"""The command line takes options from variables and `config.toml`."""

from pathlib import Path

import pytest

from tests.helpers.commands import run, share

COMMANDS = ["get", "cat", "ls", "info", "verify", "chunk", "share"]


def test_a_flag_overrides_a_variable_which_overrides_the_file(
    tmp_path: Path,
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"folder = '{tmp_path / 'usual'}'\nquiet = true\nseed = true")
    (tmp_path / "source").write_bytes(b"abc")
    env = {"SHOAL_CONFIG": str(config), "SHOAL_SEED": "0"}
    with share(tmp_path / "source", "--port", 0) as server:
        link = server.wait_line(r"^shoal:\S+$", stream="out")[0]
        port = server.wait_line(r"on port (\d+)", stream="err")[1]
        env["SHOAL_PEER"] = f"127.0.0.1:{port}"
        wanted = {
            (): tmp_path / "usual" / "source",
            ("-C", str(tmp_path / "here")): tmp_path / "here" / "source",
            ("-o", str(tmp_path / "named")): tmp_path / "named",
        }
        for words, target in wanted.items():
            target.parent.mkdir(exist_ok=True)
            ended = run("get", link, *words, env=env).finish()
            assert (ended.code, ended.stderr) == (0, "")
            assert ended.stdout.decode() == f"{target}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_invalid_file_ends_every_command_except_help(
    command: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("lan_only = true")
    env = {"SHOAL_CONFIG": str(config), "SHOAL_JSON": "1"}
    words = [command, "a", "b"] if command in ("verify", "chunk") else [command, "a"]
    ended = run(*words, env=env).finish()
    assert ended.code == 2
    assert f"{config}: there is no key 'lan_only'; did you mean" in ended.stderr
    assert run(command, "--help", env=env).finish().code == 0
