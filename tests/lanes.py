"""Which tests run beside which: two processes, and an order in which little is waited for.

A fresh clone compiles kernels for two minutes, in one thread. So the tests of the page, whose
server begins with that, are one group, and beside them run first those that need no kernels. What
comes last finds all of them compiled.
"""

from collections.abc import Sequence

import pytest

# They share one server.
PAGE = (
    "browser/test_chat",
    "browser/test_look",
    "browser/test_pictures",
    "browser/test_video",
    "integration/test_endpoints",
    "integration/test_readme",
)
TEACH = ("browser/test_teach",)  # compiles what trainings need, in a child process
COMPILED = (  # unit tests that call kernels
    "unit/test_amx",
    "unit/test_company",
    "unit/test_dot",
    "unit/test_job",
    "unit/test_runs",
    "unit/test_sight_recipe",
    "unit/test_tile",
    "unit/test_trainer",
    "unit/test_trial",
    "unit/test_vqa",
)


def in_lanes(items: list[pytest.Item]) -> None:
    """Sorts what was collected and says what belongs together, in place."""
    items.sort(key=_turn)
    for item in items:
        group = "page" if _one_of(item, PAGE) else item.nodeid.split("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


def _turn(item: pytest.Item) -> int:
    if _one_of(item, PAGE):
        return 0
    if _one_of(item, TEACH):
        return 2
    light = item.nodeid.startswith("tests/unit/") and not _one_of(item, COMPILED)
    return 1 if light else 3


def _one_of(item: pytest.Item, files: Sequence[str]) -> bool:
    return item.nodeid.split("::")[0].removeprefix("tests/").removesuffix(".py") in files
