#!/bin/sh
# click: a variable that holds a flag's own value switches the flag off, and a variable
# that switches it off passes 0 or the string 'False'.
#
# Packages: click 8.5.1 (PyPI), CPython 3.11.
#
# Expected: for an option with flag_value=3 and an environment variable, the documentation
# says that 0, no and off deactivate the flag, that a flag which is not active is None,
# and that the flag value itself, given in the variable, activates it:
# https://click.palletsprojects.com/en/stable/options/#values-from-environment-variables
#
# What happens: click answers "is the flag active?" with False and then converts that
# False to the type of the option, as if it were the option's value.
#   - With type=int, LEVEL=0 and LEVEL=off give 0 (int(False)): a value that neither the
#     declaration nor the user gave. LEVEL=3, the flag value, gives None, because the
#     text is compared with the number.
#   - With a string, CACHE=0 and CACHE=off give the string 'False', which is true in a
#     condition and a valid file name.
# On the command line both options can only be None or their flag value.
#
# Output seen:
#   LEVEL=1: 3
#   LEVEL=3: None
#   LEVEL=0: 0
#   LEVEL=off: 0
#   CACHE=1: '/tmp/cache'
#   CACHE=/tmp/cache: '/tmp/cache'
#   CACHE=0: 'False'
#   CACHE=off: 'False'
#   CACHE=other: None
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'click==8.5.1'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" - <<'PYTHON'
import sys

import click
from click.testing import CliRunner


@click.command()
@click.option("--level", flag_value=3, type=int, envvar="LEVEL")
@click.option("--cache", flag_value="/tmp/cache", envvar="CACHE")
def main(**options):
    seen.append(options)


seen = []
EXPECTED = {
    ("LEVEL", "1"): 3,
    ("LEVEL", "3"): None,
    ("LEVEL", "0"): 0,
    ("LEVEL", "off"): 0,
    ("CACHE", "1"): "/tmp/cache",
    ("CACHE", "/tmp/cache"): "/tmp/cache",
    ("CACHE", "0"): "False",
    ("CACHE", "off"): "False",
    ("CACHE", "other"): None,
}
changed = False
for (variable, text), value in EXPECTED.items():
    CliRunner().invoke(main, [], env={variable: text}, catch_exceptions=False)
    got = seen.pop()[variable.lower()]
    print(f"{variable}={text}: {got!r}")
    changed |= got != value or type(got) is not type(value)
sys.exit("the behaviour has changed" if changed else 0)
PYTHON
