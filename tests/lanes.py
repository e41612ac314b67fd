"""Which tests run beside which: two processes, and an order in which little is waited for.

A fresh clone compiles kernels for a minute and a half, in one thread. So the tests of the page,
whose server begins with that, are one group. Beside them run first those that need no kernels, then
those that compile what trainings need; the trainings on the page come last and find it compiled.
"""

from collections.abc import Sequence

from xdist.scheduler import LoadScopeScheduling

# They share one server, as do the trainings on the page.
PAGE = (
    "browser/test_chat",
    "browser/test_look",
    "browser/test_pictures",
    "browser/test_video",
    "integration/test_endpoints",
    "integration/test_readme",
)
TEACH = ("browser/test_teach",)
COMPILED = (  # unit tests that call kernels
    "unit/test_adapter",
    "unit/test_amx",
    "unit/test_company",
    "unit/test_dot",
    "unit/test_job",
    "unit/test_kept",
    "unit/test_replies",
    "unit/test_runs",
    "unit/test_scheduler",
    "unit/test_sight_recipe",
    "unit/test_tile",
    "unit/test_trainer",
    "unit/test_trial",
    "unit/test_vqa",
)


class Lanes(LoadScopeScheduling):
    """Gives a free process the next file; the tests of the page go to one process as one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "page" if _one_of(nodeid, PAGE + TEACH) else nodeid.split("::")[0]


def turn(nodeid: str) -> int:
    """Tests of a lower turn begin earlier."""
    if _one_of(nodeid, PAGE):
        return 0
    if _one_of(nodeid, COMPILED):
        return 2
    if _one_of(nodeid, TEACH):
        return 3
    return 1 if nodeid.startswith("tests/unit/") else 4


def _one_of(nodeid: str, files: Sequence[str]) -> bool:
    return nodeid.split("::")[0].removeprefix("tests/").removesuffix(".py") in files
