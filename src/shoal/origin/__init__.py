"""Origins: servers that have the files of a share but do not speak to peers."""
