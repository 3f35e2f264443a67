"""Connections: what turns bytes on sockets into the events of a session."""
