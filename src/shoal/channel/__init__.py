"""Serve and download open channels: plain TCP, the workshop's protocol."""
