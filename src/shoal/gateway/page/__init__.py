"""The gateway's page: the shares, their chunk maps, peers, rates and files.

`view` makes the text and the chunk map and is pure; `html` renders and serves the
page; `events` samples the node and sends open pages what changed. The page
is one document, made of `page.html`, `share.html` for each share, `known.html` once its
manifest is known, `page.css` and `page.js`; its content security policy names style and
script by their hashes.
"""
