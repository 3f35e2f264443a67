"""The mainline DHT of BitTorrent (BEP 5), asked as a read-only node (BEP 43).

`bencode`, `krpc`, `belief`, `candidates`, `lookup` and `schedule` are pure: bytes,
floats and an rng in, values out. `client` owns the one socket, `bootstrap` the
names of the first nodes. Nothing is imported here, so that naming the package
costs nothing.
"""
