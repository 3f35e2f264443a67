"""Describe what happens: events, rates, counters, stalls and status."""
