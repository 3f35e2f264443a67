"""`shoal completion`: what a shell needs to complete commands and options."""

from typing import Any

import click

from shoal.cli.options import everywhere
from shoal.errors import UsageError

__all__ = ["command"]

VARIABLE = "_SHOAL_COMPLETE"  # in which the script asks shoal for words


@everywhere
@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
def command(shell: str, **options: Any) -> None:
    """Print the script that completes shoal's words in SHELL: bash, zsh or fish.

    Write it to where the shell looks for such scripts, or have it read by the shell
    each time it starts.

    \b
    shoal completion bash > ~/.local/share/bash-completion/completions/shoal
    shoal completion zsh > ~/.zfunc/_shoal
    shoal completion fish > ~/.config/fish/completions/shoal.fish
    """
    from click.shell_completion import get_completion_class

    from shoal.cli import cli

    if options["as_json"]:
        raise UsageError("completion writes the script itself; leave out --json.")
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(cli, {}, "shoal", VARIABLE).source(), nl=False)
