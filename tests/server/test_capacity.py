"""The server accepts as many connections as its files and its reactor carry."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from twisted.internet import default
from twisted.internet.selectreactor import SelectReactor

from broadcast.core.errors import StartupError
from broadcast.server import capacity
from broadcast.server.capacity import install_reactor, most_connections, raise_file_limit


def test_file_limit_is_raised_to_the_hard_limit() -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits of resources")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        files = raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == hard or soft >= 10240
        assert files == (None if soft == resource.RLIM_INFINITY else soft)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_file_limit_of_macos_is_raised_less(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits of resources")
    requested: list[tuple[int, int]] = []

    def setrlimit(_resource: int, limits: tuple[int, int]) -> None:
        requested.append(limits)
        if limits[0] == 1 << 62:
            raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _resource: (256, 1 << 62))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    raise_file_limit()
    assert requested == [(1 << 62, 1 << 62), (10240, 1 << 62)]


@pytest.mark.parametrize(
    ("requested", "files", "connections"),
    [(None, 1024, 960), (960, 1024, 960), (10, 1024, 10), (None, 50, 1), (7, None, 7), (None, None, None)],
)
def test_connection_limit_leaves_descriptors_for_other_files(
    requested: int | None, files: int | None, connections: int | None
) -> None:
    assert most_connections(requested, files) == connections


def test_connection_limit_beyond_the_file_limit_is_rejected() -> None:
    message = r"^--connections 961 .* is 1024: raise it to 1025 .* or choose at most 960\.$"
    with pytest.raises(StartupError, match=message):
        most_connections(961, 1024)


class UnusedSelectReactor(SelectReactor):
    """Twisted's reactor that uses ``select``, without the descriptors of one that is used."""

    __module__ = SelectReactor.__module__

    def __init__(self) -> None:
        """Do nothing."""


def test_connection_limit_follows_a_reactor_that_uses_select(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = UnusedSelectReactor()
    monkeypatch.setattr(capacity, "SELECT_FILES", 512)
    assert most_connections(None, None, reactor) == most_connections(None, 10240, reactor) == 448
    assert most_connections(None, 256, reactor) == 192
    assert most_connections(20, None, reactor) == 20
    message = r"^--connections 449 is more than this reactor carries, which uses select: choose at most 448, or "
    with pytest.raises(StartupError, match=message):
        most_connections(449, 10240, reactor)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the reactors that are installed from now on, in a process that has none yet."""
    names: list[str] = []
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)
    monkeypatch.setattr(default, "install", SimpleNamespace(__module__="twisted.internet.selectreactor"))
    for name in capacity._REACTORS:
        module: Any = ModuleType(name)
        module.install = lambda name=name: names.append(name)
        monkeypatch.setitem(sys.modules, name, module)
    return names


def test_kqueue_is_preferred_to_select(installed: list[str]) -> None:
    install_reactor()
    assert installed == ["twisted.internet.kqreactor"]


def test_iocp_is_preferred_to_select(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "twisted.internet.kqreactor", None)
    install_reactor()
    assert installed == ["twisted.internet.iocpreactor.reactor"]


def test_without_another_reactor_select_remains(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in capacity._REACTORS:
        monkeypatch.setitem(sys.modules, name, None)
    install_reactor()
    assert installed == []


def test_a_reactor_that_is_installed_is_kept(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", ModuleType("reactor"))
    install_reactor()
    assert installed == []


def test_a_default_that_carries_many_is_kept(installed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "install", SimpleNamespace(__module__="twisted.internet.epollreactor"))
    install_reactor()
    assert installed == []
