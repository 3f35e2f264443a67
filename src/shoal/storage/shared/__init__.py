"""Read and hash the files that the user shares."""
