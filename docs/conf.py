"""Configuration of Sphinx. Build the documentation with ``sphinx-build -W -n docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for the extension option_tables

from broadcast import __version__

project = "broadcast"
author = "The broadcast developers"
copyright = author  # noqa: A001 -- Sphinx's name
version = release = __version__
extensions = ["option_tables"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "A chat server for telnet, netcat and programs", "fixed_sidebar": True}
html_show_copyright = False
smartquotes = False  # they would turn the dashes of an option into one long dash
