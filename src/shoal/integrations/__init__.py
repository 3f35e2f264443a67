"""Adapters that let other libraries read shares."""
