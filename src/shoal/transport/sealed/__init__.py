"""The transport of sealed shares: knock, TLS and proofs (docs/protocol.md).

`port` is the entry: it accepts through `listen`, and dials. `proven` exchanges the
proofs at both ends, and `half_open` limits connections that have proven nothing yet.
"""
