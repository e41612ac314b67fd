"""A run on made-up pictures: it learns, and stopped half-way it goes on as if it never stopped."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import torch
from torch import Tensor

from demo.recipes.lesson import Lesson, Plan, Shown, stages
from demo.recipes.muon import Muon, orthogonal
from demo.recipes.pace import Pace
from demo.recipes.tower import preprocessing_of
from demo.recipes.vocabulary import Kind, Vocabulary

VISION = {"timm_model_name": "test_resnet", "timm_model_pretrained": False, "timm_pool": "avg"}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
SEEN = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": VISION | {"timm_proj": "linear", "image_size": 64},
        "text_cfg": TEXT,
    },
    "preprocess_cfg": SEEN,
}
KINDS = [Kind(("a dark picture",), ("a picture",)), Kind(("a light picture",), ("a picture",))]


@dataclass(frozen=True)
class Plain:
    """Dark and light squares."""

    kinds: Tensor
    share: float = 1.0
    mixes: bool = True

    def to(self, device: torch.device) -> Self:
        return self

    def views(self, rows: Tensor, side: int, generator: torch.Generator) -> Tensor:
        light = self.kinds[rows].float()[:, None, None, None]
        return light * 0.7 + 0.2 * torch.rand(len(rows), 3, side, side, generator=generator)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "open_clip_config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def lesson(folder: Path, plan: Plan) -> Lesson:
    shelf = Plain(torch.arange(32) % 2)
    return Lesson(folder, preprocessing_of(folder), [shelf], Vocabulary(KINDS), plan)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The pace chooses threads by the clock, and sums depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_resumed_is_never_stopped(folder: Path) -> None:
    plan = Plan(stages=((64, 2), (96, 1)), batch=8, warm_up=0.1)
    whole = lesson(folder, plan)
    losses = [whole.epoch() for _ in range(3)]
    assert losses[-1] < losses[0]
    assert whole.rate() == 0

    first = lesson(folder, plan)
    first.epoch(folder / "state.pt", every=3)  # 4 steps an epoch: saved after the third
    second = lesson(folder, plan)
    second.load(folder / "state.pt")
    assert second.step == 3
    for _ in range(3):
        second.epoch()
    assert second.step == whole.step == 12
    expected = whole.model.state_dict()
    for name, value in second.model.state_dict().items():
        assert torch.allclose(value, expected[name], atol=0.02), name


def test_a_gradient_that_is_no_number_changes_nothing(folder: Path) -> None:
    taught = lesson(folder, Plan(stages=((64, 1),), batch=8))
    weight = next(taught.model.visual.trunk.parameters())
    weight.register_hook(lambda gradient: gradient * float("nan"))
    before = taught.model.text_projection.detach().clone()
    taught.epoch()
    assert torch.equal(before, taught.model.text_projection)
    assert taught.step == 4


def test_parts_of_others_are_pasted_in() -> None:
    views = torch.arange(8.0).view(8, 1, 1, 1).expand(-1, 3, 16, 16).clone()
    shown = Shown.alone(views, torch.arange(8))
    free = torch.arange(2, 8)
    mixed = shown.mixed(free, 0.5, torch.Generator().manual_seed(0))
    changed = torch.nonzero(mixed.others != mixed.kinds)[:, 0].tolist()
    assert (len(changed), min(changed) >= 2) == (3, True)
    assert torch.equal(mixed.kinds, shown.kinds)
    for row, picture in enumerate(mixed.views[:, 0]):
        pasted = (picture == float(mixed.others[row])).float().mean()
        own = (picture == float(row)).float().mean()
        assert float(own) + float(pasted) * (row in changed) == 1
        assert float(mixed.share[row]) == (float(pasted) if row in changed else 0)
    assert torch.equal(shown.views[:, 0, 0, 0], torch.arange(8.0))  # as they were


def test_a_pasted_part_counts_by_its_share(folder: Path) -> None:
    taught = lesson(folder, Plan(stages=((64, 1),), batch=8, mixed=1.0))
    tokens = taught.sentences.draw(torch.Generator().manual_seed(0))
    views, first = torch.rand(4, 3, 64, 64), torch.zeros(4, dtype=torch.long)

    def loss(share: float) -> float:
        with torch.no_grad():
            shown = Shown(views, first, first + 1, torch.full((4,), float(share)))
            return float(taught._loss(shown, tokens))

    taught.model.eval()
    assert loss(0.25) == pytest.approx(0.75 * loss(0) + 0.25 * loss(1), rel=1e-4)


def test_a_plan_has_a_side_for_every_epoch() -> None:
    plan = Plan(stages=stages("64x2,96x1"))
    assert (plan.epochs, [plan.side(epoch) for epoch in range(3)]) == (3, [64, 64, 96])
    with pytest.raises(ValueError, match="no such epoch"):
        plan.side(3)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Plan(mixed=share)


@pytest.mark.parametrize("text", ["", "64", "64x", "64x8;96x6", "x8"])
def test_odd_stages_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="64x8,96x6"):
        stages(text)


def test_pace_keeps_to_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, used, before = [0.0], [], torch.get_num_threads()
    monkeypatch.setattr("demo.recipes.pace.time.monotonic", lambda: clock[0])
    pace = Pace((1, 2))
    for _ in range(50):
        pace.start()
        used.append(torch.get_num_threads())
        clock[0] += 1.0 if used[-1] == 1 else 3.0
        pace.stop()
    torch.set_num_threads(before)
    assert used[:4] == [1, 1, 2, 2]
    assert used[40:42] == [1, 2]  # more than 12 times the 3 seconds later
    assert used.count(2) == 3
    assert str(pace) == "1 threads 1.0 s, 2 threads 3.0 s"


def test_a_slow_first_step_is_not_held_against_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, used, before = [0.0], [], torch.get_num_threads()
    monkeypatch.setattr("demo.recipes.pace.time.monotonic", lambda: clock[0])
    pace = Pace((1, 2))
    for _ in range(10):
        pace.start()
        used.append(torch.get_num_threads())
        clock[0] += 1.0 if used[-1] == 1 else 0.6 if used.count(2) > 1 else 20.0
        pace.stop()
    torch.set_num_threads(before)
    assert used == [1, 1, 2, 2, 1, *[2] * 5]  # one look at the other, which was idle for long


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    found = torch.linalg.svdvals(orthogonal(torch.randn(2, *shape)))
    assert (float(found.min()) > 0.5, float(found.max()) < 1.4) == (True, True)


def test_muon_turns_and_keeps_the_length() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(8, 3, 3, 3))
    before, optimizer = weight.detach().clone(), Muon([weight], lr=1e-3)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert not torch.equal(before, weight)
    assert weight.detach().norm().item() == pytest.approx(8**0.5, rel=0.01)
