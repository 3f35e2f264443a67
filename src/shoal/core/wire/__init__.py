"""Encode and decode frames and messages."""
