"""Say on a terminal what to type on the other machine, ready to paste.

A log gets none of it: whoever reads a link there has the share.
"""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.net.interfaces import list_interfaces

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.cli.output import Output
    from shoal.node.node import Node
    from shoal.swarm.share import SealedShare

__all__ = ["dialable_addresses", "say_how_to_get"]

_BRIDGES = ("docker", "br-", "veth", "virbr", "lxc", "cni", "podman")
MAX_NAMED = 2  # addresses of this machine that are named for --peer
MAX_COMMANDS = 3  # shares for which a command is written


def say_how_to_get(
    node: "Node", output: "Output", shares: "Sequence[OpenShare | SealedShare]"
) -> None:
    """Say how to download these shares, also where they find no peer."""
    if not shares or not sys.stderr.isatty():
        return
    # Several copies of one share have one link.
    unique = dict.fromkeys(_command(node, share) for share in shares)
    commands = list(unique)[:MAX_COMMANDS]
    output.say("On the other machine:")
    for command in commands:
        output.say(f"  {command}")
    if len(unique) > len(commands):
        output.say(f"  (shoal list shows all {len(unique):,} links)")
    hosts = dialable_addresses(node.settings.interfaces)[:MAX_NAMED]
    if hosts:
        peers = [shlex.quote(str(Address(host, shares[0].port))) for host in hosts]
        named = "".join(f" --peer {each}" for each in peers)
        output.say("If it finds no peer there, name this one:")
        for command in commands:
            output.say(f"  {command}{named}")


def _command(node: "Node", share: "OpenShare | SealedShare") -> str:
    """Return the command that downloads a share."""
    from shoal.core.manifest.paths import hides
    from shoal.swarm.share import SealedShare

    if not isinstance(share, SealedShare):  # the receiver chooses the file's name
        return f"shoal get {shlex.quote(share.channel.id)} -o OUT"
    command = f"shoal get {share.code or shlex.quote(str(share.link))}"
    command += " -o OUT" if hides(share.manifest.root.name) else ""
    if share.code:  # it cannot name a relay, as a link does
        relays = (shlex.quote(str(relay)) for relay in node.settings.relays)
        command += "".join(f" --relay {each}" for each in relays)
    return command


def dialable_addresses(allowed: Sequence[str] = ()) -> list[str]:
    """Return the addresses at which other machines may reach this one.

    Those of bridges to containers and virtual machines on this machine come last, and
    loopback only if the interfaces in `allowed` have no other.
    """
    try:
        found = list_interfaces(allowed)
    except OSError:
        return []  # the system does not list its interfaces
    scopes = (Scope.PRIVATE, Scope.GLOBAL)
    near = [each for each in found if scope_of(each.address) in scopes]
    near.sort(key=lambda each: each.name.startswith(_BRIDGES))
    if not near and allowed:
        near = [each for each in found if scope_of(each.address) is Scope.LOOPBACK]
    return [each.address for each in near]
