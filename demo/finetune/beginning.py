"""What a run begins with: an adapter that has learned nothing, or one to be taught more."""

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec
from demo.errors import CheckpointError
from demo.finetune.examples import template_fingerprint
from demo.finetune.material import Material
from demo.finetune.presets import Choices
from demo.finetune.run_folder import Request, RunFolder
from demo.llama.base import Base

OPEN_GATE = 3.0  # tanh 0.995: gates open from the start, to compare (design, section 2)


def new_adapter(
    folder: RunFolder, choices: Choices, base: Base, material: Material
) -> tuple[Adapter, Passport | None]:
    """The adapter before its first step, and the passport of the one to be taught more.

    A new one follows from the seed alone.

    Raises:
        CheckpointError: the one to be taught more does not fit base or pictures.
    """
    if folder.start.exists():
        adapter, passport = load_adapter(folder.start)
        _check_start(passport, base, material)
        return adapter.requires_grad_(True), passport
    features = material.course.features
    spec = choices.spec(base.config, None if features is None else features.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(choices.seed)
        adapter = Adapter(spec)
    if adapter.visual:
        adapter.visual.measure(material.learned_features())
    if not choices.zero_init:
        torch.nn.init.constant_(adapter.gate, OPEN_GATE)
    return adapter, None


def make_passport(
    request: Request, base: Base, material: Material, spec: AdapterSpec, start: Passport | None
) -> Passport:
    """What the file says of itself, but for the measures.

    Args:
        start: of the adapter that is taught more.
    """
    tower, sight = material.tower, {}
    if spec.visual and tower:
        sight = {
            "tower": tower.name,
            "tower_fingerprint": tower.fingerprint,
            "preprocessing": vars(tower.preprocessing),
        }
    elif spec.visual and start:  # it keeps its eyes, whatever it is taught now
        sight = {
            name: getattr(start, name) for name in ("tower", "tower_fingerprint", "preprocessing")
        }
    return Passport(
        name=request.name.strip(),
        description=request.description.strip(),
        base=base.name,
        base_fingerprint=base.fingerprint,
        spec=spec,
        template=template_fingerprint(base.tokenizer),
        data=request.source,
        data_fingerprint=material.fingerprint,
        examples=len(material.course.examples),
        **sight,
    )


def _check_start(passport: Passport, base: Base, material: Material) -> None:
    if passport.base_fingerprint != base.fingerprint:
        raise CheckpointError(
            f"The adapter to be taught more was taught on {passport.base}; this is {base.name}. "
            "Start a new one."
        )
    tower = material.tower
    if tower and passport.tower_fingerprint != tower.fingerprint:
        sees = f"sees through {passport.tower}" if passport.tower else "knows no pictures"
        raise CheckpointError(
            f"The adapter to be taught more {sees}; these pictures go through {tower.name}. "
            "Start a new one."
        )
