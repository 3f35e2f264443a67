"""Describe a share: its root record, its chunks, their hashes and its files."""
