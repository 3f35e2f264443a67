"""Encrypt connections with TLS 1.3, without asyncio's own layer."""
