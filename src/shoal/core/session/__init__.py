"""Hold a conversation with one peer as a state machine."""
