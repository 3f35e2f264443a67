"""All file I/O, behind the interface `Disk`."""
