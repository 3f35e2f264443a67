"""Share a file or folder until one peer has all of it: `share.py PATH`."""

import sys

import shoal

with shoal.share(sys.argv[1]) as share:
    print(share.link, flush=True)
    share.wait()
