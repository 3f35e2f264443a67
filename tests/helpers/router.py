"""A home behind a router that runs the real miniupnpd, in network namespaces.

    with mapping_router(tmp_path) as home:
        home.inside    # the namespace of a machine behind the NAT, 192.168.9.2
        home.outside   # the namespace of a machine on the internet

Only connections from inside pass the NAT, and those to ports that miniupnpd maps.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.helpers.netns import Namespace, join_by_veth, join_home
from tests.helpers.process import Program

__all__ = ["Home", "mapping_router", "missing_router", "start_router"]

_RULES = """
table inet home {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "%(inside)s" accept
    jump mapped
  }
  chain mapped { }
  chain prerouting { type nat hook prerouting priority -100; jump maps; }
  chain maps { }
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "%(outside)s" masquerade
    jump maps_out
  }
  chain maps_out { }
  chain input {
    type filter hook input priority 0; %(refused)s
    meta l4proto { icmp, ipv6-icmp } accept
    iifname "%(outside)s" ct state established,related accept
    iifname "%(outside)s" drop
  }
}
"""

_NO_PCP = "udp dport 5351 @th,64,8 2 reject;"  # by the version, its first byte
_NO_PORT = "udp dport 5351 reject;"

_CONFIG = """
ext_ifname=%(outside)s
listening_ip=%(inside)s
http_port=0
enable_natpmp=yes
enable_upnp=%(upnp)s
force_igd_desc_v1=%(v1)s
secure_mode=yes
system_uptime=yes
uuid=00000000-0000-0000-0000-000000000001
lease_file=%(leases)s
upnp_table_name=home
upnp_nat_table_name=home
upnp_forward_chain=mapped
upnp_nat_chain=maps
upnp_nat_postrouting_chain=maps_out
allow %(ports)s %(subnet)s.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


class Home(NamedTuple):
    """Two machines, and the router between them."""

    inside: Namespace
    """A machine behind the NAT, at `address`."""
    router: Namespace
    outside: Namespace
    """A machine on the internet."""
    public: str
    """The router's address on the internet."""
    public_of_outside: str
    """The address of the machine on the internet."""
    daemon: Program
    """The miniupnpd of the router."""
    address: str = "192.168.9.2"
    gateway: str = "192.168.9.1"

    def rules(self) -> str:
        """Return the rules of the router, those of the mapped ports included."""
        return self.router.run("nft", "list", "table", "inet", "home")


def missing_router() -> str | None:
    """Return why the router cannot be made here; None if it can."""
    for program in ("miniupnpd", "nft"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


@contextmanager
def mapping_router(
    folder: Path,
    *,
    speaks: str = "PCP",
    is_igd_1: bool = False,
    ports: str = "1024-65535",
    subnet: str = "11.0.0",
) -> Iterator[Home]:
    """Yield a home whose router maps its `ports`; `speaks` is its best protocol.

    The internet has the addresses of `subnet`.
    """
    with ExitStack() as stack:
        outside, router, inside = (stack.enter_context(Namespace()) for _ in range(3))
        there, public = join_by_veth(outside, router, subnet=subnet)
        join_home(router, inside)
        daemon = stack.enter_context(
            start_router(router, folder, speaks=speaks, is_igd_1=is_igd_1, ports=ports)
        )
        yield Home(inside, router, outside, public, there, daemon)


def start_router(
    router: Namespace,
    folder: Path,
    *,
    speaks: str,
    is_igd_1: bool = False,
    ports: str = "1024-65535",
    outside: str = "v1",
    inside: str = "h0",
    subnet: str = "192.168.9",
) -> Program:
    """Make a namespace with two devices a router that maps ports, by miniupnpd.

    Its files are in `folder`. `speaks` is PCP, NAT-PMP or UPnP, the best protocol of
    the router.
    """
    refused = {"PCP": "", "NAT-PMP": _NO_PCP, "UPnP": _NO_PORT}[speaks]
    rules = _RULES % {"refused": refused, "inside": inside, "outside": outside}
    router.run("sh", "-c", f"echo '{rules}' | nft -f -")
    config = folder / "miniupnpd.conf"
    config.write_text(
        _CONFIG
        % {
            "outside": outside,
            "inside": inside,
            "subnet": subnet,
            "upnp": "yes" if speaks == "UPnP" else "no",
            "v1": "yes" if is_igd_1 else "no",
            "ports": ports,
            "leases": folder / "leases",
        }
    )
    argv = ["miniupnpd", "-d", "-f", str(config), "-P", str(folder / "pid")]
    daemon = Program(argv, namespace=router)
    daemon.wait_line("Listening for NAT-PMP/PCP", stream="err")
    return daemon
