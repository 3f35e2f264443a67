"""Hold one conversation with one peer as a state machine without I/O."""
