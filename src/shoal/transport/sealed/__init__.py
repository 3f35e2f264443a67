"""Dial and accept encrypted connections between holders of a link."""
