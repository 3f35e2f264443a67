"""Do all file I/O, behind the interface `Disk`."""
