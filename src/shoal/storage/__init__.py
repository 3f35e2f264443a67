"""Chunks on this machine: the files that the user shares, and downloads.

This code is synchronous and has no event loop. It blocks, so callers run it in worker
threads, except the methods whose name ends in `now`. All access to the file system is
through `shoal.storage.disk.disk.Disk`.
"""
