"""Decide which peer to dial, and when."""
