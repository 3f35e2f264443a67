"""Download and upload chunks; used by both kinds of share."""
