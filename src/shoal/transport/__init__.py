"""Connections: sockets whose bytes become the events of a session.

`listen` accepts, `connection` carries one session over TCP, and `liveness` ends dead
connections. `sealed` adds the knock, TLS and the proofs of sealed shares.
"""
