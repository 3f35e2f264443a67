"""Decide what to request from which source, and what to send to which peer."""
