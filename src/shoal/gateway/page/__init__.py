"""The gateway's page: the shares, their chunk maps, peers, rates and files.

`view` makes the words and the chunk map and is pure; `html` renders and serves the
page; `events` samples the node and sends open pages what changed. `page.html`,
`page.css` and `page.js` are sent as one document, whose content security policy names
style and script by their hashes.
"""
