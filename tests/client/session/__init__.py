"""Tests of one person's conversation."""
