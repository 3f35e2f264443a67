"""Let other libraries read shares."""
