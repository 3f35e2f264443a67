"""The page that shows what a gateway serves, how it comes, and where to open it.

Pure: `cells` (the chunk map), `snapshot` (what is shown, in words), `html`. `watch`
asks the node how things stand, `events` tells open pages what has changed, `routes`
answers for both. `page.html`, `page.css` and `page.js` are sent in one piece, as they
are; the policy names them by their hashes.
"""
