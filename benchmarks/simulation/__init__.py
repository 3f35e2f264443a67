"""A crowd of many shoals under a simulated clock and network."""
