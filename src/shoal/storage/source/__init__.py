"""Read and hash the files that are shared."""
