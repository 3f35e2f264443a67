"""Turn what happens into events, rates, counters and reasons."""
