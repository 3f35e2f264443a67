"""The pure core of shoal: it takes bytes, times and random sources, and returns values.

No module in this package uses a socket, a file, a clock or an event loop, so all of it
can be tested exhaustively and run by a simulator.
"""
