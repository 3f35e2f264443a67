"""QUIC between nodes behind NATs that let no TCP connection in.

`endpoint` exchanges knocks and owns the connections of one node, and `stream` makes one
of them a transport: a stream of bytes, over which the handshake and the encryption of
`transport.sealed` run as they do over TCP. It needs qh3, an optional package.
"""
