"""A swarm of many nodes under a simulated clock and network."""
