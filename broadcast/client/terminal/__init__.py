"""The client on a terminal: an editor for the typed line, and the conversation above it."""
