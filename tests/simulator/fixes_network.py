"""Fixes of what concerns connections, dials, NATs and liars."""

from tests.simulator.without import Edit, Fix

__all__ = ["NETWORK_FIXES"]

NETWORK_FIXES = (
    Fix(
        "many-behind-one-address",
        "any number of downloaders behind one address",
        (
            Edit(
                "shoal.swarm.connections:Connections.accept",
                "latest = now - USE_TIME\n",
                "latest = now - USE_TIME\n"
                "    if scope_of(host) is Scope.GLOBAL:\n"
                "        ends = [each.address for each in self.peers]\n"
                "        if sum(each.host == host for each in ends) >= 4:\n"
                "            raise PeerError('too many connections of one address')\n",
            ),
        ),
    ),
    Fix(
        "neighbours-of-liar",
        "a liar does not ban its neighbours",
        (
            Edit(
                "shoal.core.bans:Bans.is_distrusted",
                "len(times) >= MAX_LIARS",
                "len(times) >= 1",
            ),
            Edit(
                "shoal.core.bans:Bans.may_try",
                "if now - self._trials[key] < TRIAL_TIME:",
                "if True:",
            ),
        ),
    ),
    Fix(
        "dialled-first",
        "of the peers at a distrusted host, those are tried first that were dialled",
        (
            Edit(
                "shoal.swarm.dispatcher:Dispatcher.try_peers",
                "sorted(self.connections, key=lambda each: each.dialled is None)",
                "self.connections",
            ),
            Edit(
                "shoal.core.bans:Bans.may_try",
                "now - self._trials[key] < TRIAL_TIME",
                "now - self._trials[key] < 30.0",
            ),
        ),
    ),
    Fix(
        "trial-time",
        "a peer of a distrusted host is tried every 3 s, and not every 30 s",
        (
            Edit(
                "shoal.core.bans:Bans.may_try",
                "now - self._trials[key] < TRIAL_TIME",
                "now - self._trials[key] < 30.0",
            ),
        ),
    ),
    Fix(
        "one-connection",
        "one connection per pair of nodes",
        (
            Edit(
                "shoal.swarm.connections:Connections._keep_one",
                "age = self._loop",
                "return\n    age = self._loop",
            ),
            Edit(
                "shoal.swarm.connections:Connections.drop_duplicates",
                "if kept is not peer and",
                "if False and",
            ),
        ),
    ),
    Fix(
        "unused-duplicates",
        "of two connections that transfer nothing, one is closed",
        (
            Edit(
                "shoal.swarm.connections:Connections.drop_duplicates",
                "is_late = newer <= latest",
                "is_late = False",
            ),
        ),
    ),
    Fix(
        "source-is-one",
        "of two connections with one source, one is used",
        (
            Edit(
                "shoal.swarm.connections:Connections.may_try",
                "is_same and not (",
                "False and not (",
            ),
        ),
    ),
    Fix(
        "names-stay",
        "names are not passed on, and end no connection",
        (
            Edit(
                "shoal.swarm.peer:Peer.endpoint",
                "return Address(self.connection.address.host, port)",
                "return self.dialled or Address(self.connection.address.host, port)",
            ),
            Edit(
                "shoal.swarm.peer:Peer.may_know",
                "host, told = self.connection.address.host, other.endpoint",
                "host, told = self.connection.address.host, other.endpoint\n"
                "    if scope_of(told.host) is Scope.NONE:\n"
                "        return True",
            ),
            Edit(
                "shoal.swarm.connections:Connections.add_addresses",
                "if address is not None:",
                "if address is None:\n"
                "            raise PeerError(f'{each[0]} is no address')\n"
                "        if True:",
            ),
        ),
    ),
    Fix(
        "dial-from-listening-port",
        "global addresses are dialled from the listening port",
        (
            Edit(
                "shoal.transport.sealed.bound:connect_from",
                "if not can_share:",
                "if True:",
            ),
        ),
    ),
    Fix(
        "crossing-server",
        "one end of a simultaneous open becomes the server",
        (
            Edit(
                "shoal.core.crypto.crossing:DialHandshake.cross",
                "if self.knock[:KEY_SIZE] < opened.ephemeral:",
                "if True:",
            ),
        ),
    ),
    Fix(
        "port-aside",
        "two machines behind NATs connect for several shares at once",
        (
            Edit(
                "shoal.transport.sealed.bound:connect_from",
                "return await connect_aside()",
                "return await _connect(0, address)",
            ),
            Edit(
                "shoal.transport.sealed.bound:connect_from",
                "if is_known:",
                "if False:",
            ),
        ),
    ),
    Fix(
        "newcomers",
        "the DHT is asked for newcomers between lookups",
        (
            Edit(
                "shoal.discovery.dht.search:Search.seek_wait",
                "if self.port is None:",
                "if True:",
            ),
        ),
    ),
    Fix(
        "claims-once-a-minute",
        "a claimed address is dialled once a minute",
        (
            Edit(
                "shoal.core.dials:DialPace.introduced_at",
                "return introduced[address] + INTRODUCTION_PERIOD",
                "return now",
            ),
        ),
    ),
    Fix(
        "waiting-dials",
        "64 dials wait for a peer",
        (
            Edit(
                "shoal.core.dials:DialPace.begin_punch",
                "if self._punches >= MAX_PUNCHES:",
                "if False:",
            ),
        ),
    ),
    Fix(
        "claimed-ports",
        "eight ports of a claimed host are dialled in a minute",
        (
            Edit(
                "shoal.core.dials:DialPace.introduced_at",
                "hosts[key] >= MAX_INTRODUCED_PORTS or ",
                "",
            ),
        ),
    ),
)
"""Every such fix."""
