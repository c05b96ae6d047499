"""Tests of the web page in a real browser, beside people on the line port and a program."""
