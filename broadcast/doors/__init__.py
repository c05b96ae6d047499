"""The doors: each is one protocol through which clients reach the rooms."""
