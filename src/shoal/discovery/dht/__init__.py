"""The mainline DHT of BitTorrent (BEP 5), used as a read-only node (BEP 43).

`krpc`, `nodes` and `lookup` are pure: bytes, times and an rng in, values out. `client`
owns the socket and the tasks, `bootstrap` resolves the names of the first nodes.
Nothing is imported here, so that importing the package costs nothing.
"""
