"""Read options from config.toml, variables and keyword arguments."""
