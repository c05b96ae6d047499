"""The server process: its settings, life cycle, log, signals and metrics."""
