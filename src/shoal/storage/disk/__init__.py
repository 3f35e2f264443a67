"""All file I/O, behind the class `Disk`."""
