"""Move a file or folder to any number of machines, with no server in the middle."""

__version__ = "0.1.0"
