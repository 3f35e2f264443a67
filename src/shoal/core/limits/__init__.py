"""Limit what strangers and peers may do."""
