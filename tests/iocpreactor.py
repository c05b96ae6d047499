"""The reactor of the tests on Windows: IOCP, as for the server.

pytest-twisted takes the module in which ``install`` is defined, and expects a class in it that has the module's name.
So this module has the name of Twisted's, and the class.
"""

from __future__ import annotations

from twisted.internet.iocpreactor.reactor import IOCPReactor
from twisted.internet.iocpreactor.reactor import install as install_iocp

__all__ = ["IOCPReactor", "install"]


def install() -> None:
    """Install the reactor."""
    install_iocp()  # type: ignore[no-untyped-call]
