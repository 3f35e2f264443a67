"""TLS 1.3 for sealed shares, without asyncio's own layer (docs/design.md)."""
