"""The chat itself: text, names, events and numbers; no socket, clock, reactor, encoding or database."""
