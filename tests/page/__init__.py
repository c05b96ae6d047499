"""Tests of the modules of the web page that need no browser. Node runs them."""
