"""What the process that serves the page is allowed by the system."""

import sys
from collections.abc import Iterator

import pytest

from demo.ui import server
from demo.ui.server import allow_connections

resource = pytest.importorskip("resource", reason="a system without limits of this kind")


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield soft, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.matrix("D6")
def test_as_many_connections_are_held_as_the_system_allows(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,500 open connections kept everybody else out of a process that may have 1,024 files."""
    soft, hard = limits
    few = min(256, soft)
    for wanted in (few + 1, sys.maxsize):
        monkeypatch.setattr(server, "CONNECTIONS", wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
        allow_connections()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)
        unbounded = hard == resource.RLIM_INFINITY and wanted == sys.maxsize
        assert unbounded or most == (
            wanted if hard == resource.RLIM_INFINITY else min(wanted, hard),
            hard,
        )
    monkeypatch.setattr(server, "CONNECTIONS", 1)
    allow_connections()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == most  # never fewer
