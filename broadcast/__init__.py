"""A chat server for netcat, telnet, programs and its own client."""

__version__ = "0.1.0"
