"""The administrator's command: accounts, and the journal as a whole."""
