"""Which adapter can be taught more, and with what."""

from types import SimpleNamespace

import pytest

from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.passport import Passport
from demo.errors import CheckpointError
from demo.finetune.runs.setup import _check_start
from demo.llama.base import Base


def test_an_adapter_that_sees_is_taught_more_through_its_own_tower(base: Base) -> None:
    visual = VisualSpec(3, 4, "query-transformer", slots=3, blocks=1, heads=2)
    spec = AdapterSpec.for_base(base.config, layers=2, prompts=3, visual=visual)
    passport = Passport("tokens", "", base.name, base.fingerprint, spec, "eyes", "print")
    tower = SimpleNamespace(name="eyes", fingerprint="print", feature_size=3)
    other = SimpleNamespace(name="others", fingerprint="another", feature_size=3)
    with pytest.raises(CheckpointError, match="sees through eyes; these pictures go through other"):
        _check_start(passport, base, SimpleNamespace(tower=other))
    for fitting in (tower, None):
        _check_start(passport, base, SimpleNamespace(tower=fitting))
