"""Shares over HTTP, for browsers, players and any other HTTP client.

`server.Gateway` owns the sockets, the token and the routes, and a `shares.ServedShare`
for each link. `guard` and `hosts` decide which clients and requests are served; `files`
serves files and folders, `page` the page, `metrics` the numbers for Prometheus.
`range`, `mediatypes` and `page.view` are pure. aiohttp is imported only here and in
`shoal.origin.web`.
"""
