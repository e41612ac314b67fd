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
    most = hard if 0 < hard < few + 100 else few + 100  # below what no system forbids
    for wanted, held in ((most, most), (1, most)):  # and never fewer than there are
        monkeypatch.setattr(server, "CONNECTIONS", wanted)
        if wanted == most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
        allow_connections()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (held, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    monkeypatch.setattr(server, "CONNECTIONS", sys.maxsize)
    allow_connections()
    assert hard == resource.RLIM_INFINITY or resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
