"""Shares over HTTP, for browsers, players and whatever else knows a URL.

Pure: `range`, `paths`, `hosts`, `mediatypes`, `listing`. The rest stands on aiohttp,
which is imported here and nowhere above. Who owns what:

    server.Gateway      the sockets, the node, the token, the routes
    shares.ServedShare  one share named on the command line, and its readers
    guard               who is answered at all
    files, stream       what is answered
"""
