"""The table of options agrees with the command line and with the Python API."""

from typing import Any, get_type_hints

import click
import pytest
from msgspec import Struct
from msgspec.structs import fields

from shoal.cli import cli
from shoal.config.arguments import (
    FetchFields,
    FetchOptions,
    ShareFields,
    ShareOptions,
)
from shoal.config.kinds import FLAG
from shoal.config.options import EVERY, OPTIONS, Option
from shoal.config.settings import Settings, SettingsFields
from shoal.config.values import Defaults

STRUCTS: dict[type[Struct], tuple[type, set[str]]] = {
    Settings: (SettingsFields, set()),
    ShareOptions: (ShareFields, {"receivers"}),  # an argument of its own
    FetchOptions: (FetchFields, {"out", "is_inside", "path"}),  # no options
}
COMMANDS = cli.list_commands(click.Context(cli))


def _options(command: str) -> dict[str, click.Option]:
    """Return the options of a command by their names in Python."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    options = [each for each in found.params if isinstance(each, click.Option)]
    return {str(each.name): each for each in options if each.expose_value}


def test_no_two_options_have_a_name_in_common() -> None:
    for names in (
        [option.name for option in OPTIONS],
        [option.keyword for option in OPTIONS],
        [option.variable for option in OPTIONS],
        [option.short for option in OPTIONS if option.short],
    ):
        assert len(names) == len(set(names))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_the_options_of_its_rows_and_no_others(command: str) -> None:
    rows = {
        option.keyword: option
        for option in OPTIONS
        if command in option.commands or option.commands == EVERY
    }
    options = _options(command)
    assert options.keys() == rows.keys()
    for name, option in rows.items():
        made = options[name]
        flags = {option.flag, option.short} - {""}
        assert (set(made.opts), made.help) == (flags, option.help)
        assert made.multiple == option.kind.is_list
        assert made.is_flag == (option.kind is FLAG)


def test_each_command_in_the_table_exists() -> None:
    named = {name for option in OPTIONS for name in option.commands}
    assert named <= {*COMMANDS, *EVERY}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_is_described_in_one_sentence(option: Option) -> None:
    assert option.help[0].isupper()
    assert option.help.endswith(".")


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_struct_has_the_fields_and_defaults_of_its_rows(struct: type[Struct]) -> None:
    keywords, arguments = STRUCTS[struct]
    rows = {o.keyword: o for o in OPTIONS if o.keyword in get_type_hints(keywords)}
    assert rows.keys() == set(struct.__struct_fields__) - arguments
    assert rows.keys() == get_type_hints(keywords).keys() - arguments
    for field in fields(struct):
        if field.name in rows and rows[field.name].kind.default is not None:
            assert field.default == rows[field.name].kind.default


TEXTS = {
    "peers": "127.0.0.1:1",
    "dht_bootstrap": "127.0.0.1:1",
    "relays": "127.0.0.1:1",
    "origins": "https://host/file",
}


@pytest.mark.parametrize(
    ("struct", "option"),
    [
        (struct, option)
        for struct, (keywords, _) in STRUCTS.items()
        for option in OPTIONS
        if option.keyword in get_type_hints(keywords)
    ],
)
def test_a_keyword_takes_the_same_text_as_its_variable(
    struct: Any, option: Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag is a bool in Python."""
    text = TEXTS.get(option.keyword, "1")
    needed = {"code": True} if option.keyword == "code_for" else {}
    value = True if option.kind is FLAG else text
    given = getattr(struct.of(**{option.keyword: value, **needed}), option.keyword)
    assert given != getattr(struct.of(), option.keyword)
    monkeypatch.setenv(option.variable, text)
    assert getattr(struct.of(), option.keyword) == given


def test_a_variable_counts_more_than_the_file_and_that_than_the_default() -> None:
    (option,) = (option for option in OPTIONS if option.name == "port")
    for environ, file, port in (
        ({"SHOAL_PORT": "1"}, {"port": 2}, 1),
        ({"SHOAL_PORT": " "}, {"port": 2}, 2),
        ({}, {}, 0),
    ):
        assert Defaults(environ, file).value(option) == port
