"""libtorrent as a DHT node, for tests with a DHT inside a namespace.

    python -m tests.interop.dht_oracle TOPIC_HEX PORT|- BOOTSTRAP [LISTEN]

joins the DHT through the node BOOTSTRAP. With a PORT, it announces the port under the
topic; otherwise it prints `peer HOST:PORT` for every peer that it finds. It runs until
it is killed.
"""

import sys
import time

import libtorrent as lt

from shoal.core.names.address import Address

ASK_AGAIN = 1.0  # seconds


def start(bootstrap: str, listen: str = "127.0.0.1:0") -> lt.session:
    """Start a session that uses only the DHT, on loopback unless told otherwise."""
    return lt.session(
        {
            # An explicit address, or there is no DHT on loopback.
            "listen_interfaces": listen,
            "alert_mask": lt.alert.category_t.dht_notification
            | lt.alert.category_t.dht_operation_notification,
            "enable_dht": True,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "dht_bootstrap_nodes": bootstrap,
            # All nodes of a test may share one address.
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
        }
    )


def main(topic: lt.sha1_hash, port: int | None, bootstrap: str, *listen: str) -> None:
    """Announce once, or search repeatedly, as soon as the node knows other nodes."""
    session = start(bootstrap, *listen)
    ask_at = float("inf")
    while True:
        if time.monotonic() >= ask_at:
            ask_at = time.monotonic() + ASK_AGAIN
            session.dht_get_peers(topic)
        session.wait_for_alert(200)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.dht_bootstrap_alert):
                if port is None:
                    ask_at = 0.0
                else:
                    session.dht_announce(topic, port)
            elif isinstance(alert, lt.dht_get_peers_reply_alert):
                for peer_host, peer_port in alert.peers():
                    print(f"peer {Address(peer_host, peer_port)}", flush=True)


if __name__ == "__main__":
    _, hexdigits, port, *nodes = sys.argv
    topic = lt.sha1_hash(bytes.fromhex(hexdigits))
    main(topic, None if port == "-" else int(port), *nodes)
