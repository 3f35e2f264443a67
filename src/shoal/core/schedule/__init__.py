"""Decide which chunk to request of which peer, and when to announce it."""
