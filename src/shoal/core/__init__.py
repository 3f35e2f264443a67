"""The pure heart of shoal: bytes, times and random sources in, values out.

Nothing in this package touches a socket, a file, a clock or an event loop, so
all of it can be tested exhaustively and driven by a simulator.
"""
