"""Peers on the same network, found by multicast DNS as dns-discovery 6 does it.

`packets` is the codec and `state` the decisions, both pure; `client` owns the
sockets and the clock. Nothing here knows what a topic stands for.
"""

from shoal.discovery.lan.client import LanDiscovery

__all__ = ["LanDiscovery"]
