"""Port mapping: a router passes connections from the internet on to this machine."""
