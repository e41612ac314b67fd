"""How all tests run: shared fixtures, and which tests one of the two processes keeps together.

A fresh clone compiles kernels for a minute and a half, in one thread. So the tests of the page,
whose server begins with that, are one group and come first. Beside them run those that need no
kernels, then those that compile what trainings need; the trainings on the page come last.
"""

import os

import pytest

pytest_plugins = ("tests.fixtures", "tests.matrix")

PAGE = "page"  # the group of all tests that use the one served page


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests of a file and turn together, those of the page in one group; sort by turns."""
    for item in items:
        file = item.nodeid.split("::")[0]
        group = PAGE if item.get_closest_marker("page") else f"{file} {_turn(item)}"
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_turn)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name files in a test's id by their length: a zip holds the time at which it was made.

    pytest-xdist stops when its two processes, which start at different seconds, disagree on ids.
    """
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 32 else None


def pytest_xdist_setupnodes() -> None:
    """Threads of one process that wait do not keep the other from the core."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def _turn(item: pytest.Item) -> int:
    """Return a test's turn: those of a lower one begin earlier."""
    if item.get_closest_marker("trainings"):
        return 3
    if item.get_closest_marker("page"):
        return 0
    if item.get_closest_marker("compiles"):
        return 2
    return 1 if "/unit/" in item.nodeid or "recipes/tests" in item.nodeid else 4
