"""Where chunks live on this machine: what is shared, and what is being fetched.

Synchronous code without an event loop: it blocks, so it is called from worker
threads, but for the few methods whose name ends in `now`. Every touch of the file
system goes through `shoal.storage.disk.disk.Disk`.
"""
