"""One room, every door: a chat server for whatever client is at hand."""

__version__ = "0.1.0"
