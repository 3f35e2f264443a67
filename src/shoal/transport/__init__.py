"""Connections: sockets whose bytes become the events of a session.

`listen` accepts, `connection` carries one session over TCP, and `liveness` ends dead
connections. `sealed` adds the handshake and the encryption of sealed shares.
"""
