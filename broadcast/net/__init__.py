"""Sockets: where the server listens, how bytes leave it, and how it learns that a peer is gone."""
