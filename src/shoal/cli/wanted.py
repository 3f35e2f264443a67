"""What the user wants to download: a link, a channel, or a code that becomes a link."""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from shoal.cli.options import read_share
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.cli.output import Output
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.code import Code
    from shoal.core.names.link import Link
    from shoal.node.node import Node

__all__ = ["Wanted", "complete_code", "complete_word"]

CODE_WORDS = 4  # arguments of a code with spaces: a number and three words


class Wanted:
    """What the arguments of a command name."""

    def __init__(self, given: Sequence[str]) -> None:
        """Read arguments: a link, channel or code, and perhaps a path in the share.

        The code may be several of them. Raises `UsageError`.
        """
        from shoal.core.names.code_words import has_code_form, looks_like_code
        from shoal.core.names.link_text import looks_like_link

        self.path: str | None = None
        """The path of one file in the share; None for the whole share."""
        self._share: Channel | Link | Code
        widths = range(min(len(given), CODE_WORDS), 0, -1)
        width = next((n for n in widths if has_code_form(" ".join(given[:n]))), 0)
        is_link = looks_like_link(given[0])
        if not is_link and len(given) > 1 and looks_like_code(" ".join(given)):
            width = width or len(given)
        self._was_code = bool(width)
        rest = given[width or 1 :]
        if len(rest) > 1:
            raise UsageError(
                f"{rest[1][:40]} is one argument too many: only the path of one of its "
                "files may follow a link."
            )
        self._given = list(given[: width or 1])
        if rest and not rest[0]:
            raise UsageError("PATH is empty; name a file of the share.")
        if rest:
            self.path = rest[0].removeprefix("./")
        if self._was_code:
            from shoal.core.names.code import parse_code

            self._share = parse_code(" ".join(self._given))
        else:
            if rest and not is_link:
                raise UsageError(
                    f"{rest[0][:40]} is one argument too many: the path of a file may "
                    "follow only a link or a code."
                )
            self._share = read_share(given[0])

    @property
    def channel(self) -> "Channel | None":
        """Return the open channel, if it is one."""
        from shoal.core.names.channel_id import Channel

        return self._share if isinstance(self._share, Channel) else None

    @property
    def is_redeemed(self) -> bool:
        """Return True if a code has become a link."""
        from shoal.core.names.link import Link

        return self._was_code and isinstance(self._share, Link)

    async def find(self, node: "Node", output: "Output") -> "Channel | Link":
        """Return the link or channel; redeem a code first."""
        from shoal.core.names.code import Code

        if isinstance(self._share, Code):
            output.say("Looking for the machine that offers this code.")
            self._share = await node.redeem(str(self._share))
            output.event("code", state="redeemed", link=str(self._share))
            output.say("The code is right.")
        return self._share

    def command(self) -> str:
        """Return the command line to run again.

        It has the link in place of a code, which may be used up.
        """
        words = sys.argv[1:]
        if self.is_redeemed:
            words = _replace(words, self._given, str(self._share))
        return shlex.join(["shoal", *words])


def _replace(words: list[str], old: list[str], new: str) -> list[str]:
    """Return `words` with `new` in place of the sequence `old`, or at the end."""
    for place in range(len(words)):
        if words[place : place + len(old)] == old:
            return [*words[:place], new, *words[place + len(old) :]]
    return [*words, new]


def complete_code(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[str]:
    """Return what a begun code can be, for the shell."""
    from shoal.core.names import code

    return code.complete_code(begun)


def complete_word(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[str]:
    """Return the words that a begun word of a code can be, for the shell."""
    from shoal.core.names import code

    is_code = (context.params["link"] or "")[:4].isdecimal()
    return code.complete_word(begun) if is_code else []
