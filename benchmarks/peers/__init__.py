"""The programs that are compared, one module each, and how their servers start."""

from benchmarks.peers.shoal import SealedShare, Share, shoal_argv

__all__ = ["SealedShare", "Share", "shoal_argv"]
