"""A disk in memory that fails, loses power and loses processes."""
