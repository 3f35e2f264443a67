"""Call shoal from code without an event loop: a loop in a thread of its own."""
