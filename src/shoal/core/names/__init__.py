"""Parse and format what users and peers call things: links, ids, addresses."""
