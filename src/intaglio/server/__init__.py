"""Listeners: sockets, TLS, limits on what a peer may send, and an orderly end."""
