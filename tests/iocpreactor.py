"""The reactor of the tests on Windows, which is that of the server.

pytest-twisted derives the name of its class from that of the module that defines ``install``, hence this module's name.
"""

from __future__ import annotations

from twisted.internet.iocpreactor.reactor import IOCPReactor
from twisted.internet.iocpreactor.reactor import install as install_iocp

__all__ = ["IOCPReactor", "install"]


def install() -> None:
    """Install the reactor."""
    install_iocp()  # type: ignore[no-untyped-call]
