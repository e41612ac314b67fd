"""What `pip install -e .` and a Space install is one list, and every range in it has two ends."""

import tomllib

import pytest
from packaging.requirements import Requirement

from demo.settings import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_package_depends_on_what_a_space_installs() -> None:
    assert {"dependencies", "optional-dependencies"} <= set(PROJECT["project"]["dynamic"])
    assert not {"dependencies", "optional-dependencies"} & PROJECT["project"].keys()
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert dynamic["dependencies"] == {"file": ["requirements.txt"]}
    assert dynamic["optional-dependencies"] == {"test": {"file": ["tests/requirements.txt"]}}


@pytest.mark.parametrize("needed", requirements("requirements.txt"), ids=lambda r: r.name)
def test_every_range_has_a_floor_and_a_ceiling(needed: Requirement) -> None:
    operators = {item.operator for item in needed.specifier}
    assert operators in ({">=", "<"}, {"=="}), needed


def test_no_package_is_named_twice() -> None:
    names = [needed.name.lower() for needed in requirements("requirements.txt")]
    assert len(names) == len(set(names))


def test_files_named_by_the_project_are_there() -> None:
    named = [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    assert [name for name in named if not (ROOT / name).is_file()] == []
