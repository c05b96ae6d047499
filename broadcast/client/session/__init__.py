"""One person's conversation: rooms, private conversations, own lines and commands, without a terminal or a socket."""
