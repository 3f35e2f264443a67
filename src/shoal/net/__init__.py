"""The network as the system shows it: interfaces, addresses and listening ports."""
