"""How events look to one kind of door: events to bytes, and nothing else."""
