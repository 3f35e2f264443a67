"""Read and write the names of things: links, channel ids, origins and addresses."""
