"""The transport of sealed shares: handshake and encryption (docs/protocol.md).

`port` is the entry: it accepts through `listen`, and dials through `dial`. `knocking`
has a connection until both ends have proven that they know the id.
"""
