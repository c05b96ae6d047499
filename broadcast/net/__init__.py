"""Sockets: where the server listens, how it writes to a connection, and how it notices dead peers."""
