"""The domain of the chat: texts, nicknames, events, rooms. No socket, clock, reactor, encoding or database."""
