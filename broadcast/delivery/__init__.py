"""Delivery of a room's stream to its subscribers: the fan-out, and the replay buffer for subscribers that lag."""
