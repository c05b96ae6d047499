"""The program protocol without I/O: bytes go in, typed events and results come out. No clock and no sockets."""
