"""The JSON-RPC door: programs that exchange JSON-RPC 2.0 messages, one in each line."""
