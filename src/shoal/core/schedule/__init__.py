"""Decide what to request from which source, and what to announce and serve to whom."""
