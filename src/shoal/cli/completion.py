"""`shoal completion`: print the script that completes words in a shell."""

from typing import Any

import click

from shoal.cli.options import Command
from shoal.errors import UsageError

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_SHOAL_COMPLETE"
"""The variable in which the script passes the shell and the kind of request."""


@click.command(cls=Command)
@click.argument("shell", required=False, metavar="SHELL")
def completion(shell: str | None, **options: Any) -> None:
    """Print the script that completes commands and options in SHELL: bash, zsh or fish.

    Save it in a folder that the shell searches for such scripts, or run it whenever
    the shell starts.

    \b
    shoal completion bash > ~/.local/share/bash-completion/completions/shoal
    shoal completion zsh > ~/.zfunc/_shoal
    shoal completion fish > ~/.config/fish/completions/shoal.fish
    """
    from click.shell_completion import get_completion_class

    from shoal.cli import cli

    if shell not in SHELLS:
        raise UsageError(
            "Name your shell: shoal completion bash, shoal completion zsh or shoal "
            "completion fish."
        )
    if options["json"]:
        raise UsageError("completion writes a script, not JSON; leave out --json.")
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "shoal", VARIABLE).source(), nl=False)
