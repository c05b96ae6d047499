"""Ways of cutting bytes into chunks, as the network may."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

Way: TypeAlias = Callable[[bytes], list[bytes]]

WAYS: dict[str, Way] = {
    "whole": lambda data: [data],
    "byte by byte": lambda data: [data[at : at + 1] for at in range(len(data))],
    "between CR and LF": lambda data: re.split(rb"(?<=\r)(?=\n)", data),
}
