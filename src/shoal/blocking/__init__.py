"""Call shoal from programs without an event loop: each call has its own loop thread."""
