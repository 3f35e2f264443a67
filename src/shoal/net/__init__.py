"""List this machine's network interfaces."""
