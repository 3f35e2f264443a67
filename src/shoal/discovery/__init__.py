"""Ways to find the peers of a share; each is one module behind `base.Discovery`."""
