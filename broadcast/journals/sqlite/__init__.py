"""The journal in an SQLite database: the default, durable across a crash of the process or the machine."""
