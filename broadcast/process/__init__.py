"""The process that the room lives in: its settings, where it listens, how it starts and ends, and how it is watched."""
