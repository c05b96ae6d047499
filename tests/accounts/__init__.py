"""Tests of the package of accounts."""
