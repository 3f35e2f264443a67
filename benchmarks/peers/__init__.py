"""The programs to compare, one module each, and how to start their servers."""

from benchmarks.peers.shoal import SealedShare, Share, shoal_argv

__all__ = ["SealedShare", "Share", "shoal_argv"]
