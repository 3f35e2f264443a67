"""Find peers on the local network by multicast DNS, as the npm package dns-discovery 6.

`packets` encodes and decodes, `state` decides; both are pure. `sockets` opens one
multicast socket per interface, and `client` owns them and the clock. None of them knows
what a topic stands for.
"""
