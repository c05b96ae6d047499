"""The ordered, durable record of what was said."""
