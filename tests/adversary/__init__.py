"""Attacks on shoal from the network and with hostile links."""
