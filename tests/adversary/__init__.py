"""What hostile people publish or send, and what has to become of it."""
