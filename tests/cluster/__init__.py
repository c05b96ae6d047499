"""Tests of several nodes that share one chat, with a database in memory: what the core makes of a cluster."""
