"""The addresses of this machine that its user can pass on for `--peer`."""

from collections.abc import Sequence

from shoal.core.names.address_scope import Scope, scope_of
from shoal.net.interfaces import list_interfaces

__all__ = ["dialable_addresses"]

_BRIDGES = ("docker", "br-", "veth", "virbr", "lxc", "cni", "podman")


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
