"""Origins: servers that hold the bytes of a share, but do not speak to peers."""
