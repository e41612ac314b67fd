"""One training run of a tower: pictures against all captions at once, resumable at any step."""

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.files import replace_file
from demo.recipes.convolution import by_products
from demo.recipes.graph import Replayed
from demo.recipes.muon import Muon
from demo.recipes.pace import Pace
from demo.recipes.shelves import Shelf
from demo.recipes.views import boxes
from demo.recipes.vocabulary import Vocabulary
from demo.vision.preprocessing import Preprocessing

CPU = torch.device("cpu")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn. The seed fixes everything but the order of float sums.

    `stages` are (pixels, epochs): small pictures first, which cost a fraction.
    """

    stages: tuple[tuple[int, int], ...] = ((64, 15),)
    seed: int = 0
    batch: int = 256
    turn: float = 0.06  # Muon's rate, for convolutions
    rate: float = 2e-3  # AdamW's, for everything else
    weight_decay: float = 0.02
    warm_up: float = 0.05  # share of the steps
    smoothing: float = 0.1
    mixed: float = 0.0  # share of pictures that show a part of another; for long plans
    coarse: float = 0.3  # weight of the coarse captions' loss

    def __post_init__(self) -> None:
        if not self.stages or min(min(stage) for stage in self.stages) < 1:
            raise ValueError("stages need pixels and epochs of at least 1")
        if min(self.batch, self.turn, self.rate, self.warm_up) <= 0:
            raise ValueError("batch, turn, rate and warm_up must be above 0")
        if not 0 <= self.mixed <= 1:
            raise ValueError("mixed is a share, from 0 to 1")

    @property
    def epochs(self) -> int:
        return sum(epochs for _, epochs in self.stages)

    def side(self, epoch: int) -> int:
        """Pixels in `epoch`, counted from 0."""
        for side, epochs in self.stages:
            if epoch < epochs:
                return side
            epoch -= epochs
        raise ValueError("the plan has no such epoch")


def stages(text: str) -> tuple[tuple[int, int], ...]:
    """`64x8,96x6` -> ((64, 8), (96, 6)).

    Raises:
        ValueError: anything else.
    """
    if not re.fullmatch(r"\d+x\d+(,\d+x\d+)*", text):
        raise ValueError(f"{text!r} is not like 64x8,96x6")
    return tuple(tuple(int(n) for n in stage.split("x")) for stage in text.split(","))


class Shown(NamedTuple):
    """Pictures of one step: `views` (B, 3, P, P) and their `kinds` (B,).

    `others` (B,) are the kinds of what was pasted in, `share` (B,) how much of each picture it is.
    """

    views: Tensor
    kinds: Tensor
    others: Tensor
    share: Tensor

    @classmethod
    def alone(cls, views: Tensor, kinds: Tensor) -> Self:
        """Nothing is pasted in."""
        return cls(views, kinds, kinds, torch.zeros(len(kinds), device=kinds.device))

    def mixed(self, free: Tensor, amount: float, generator: torch.Generator) -> Self:
        """Parts of others pasted into some of the pictures `free` (F,) (CutMix, arXiv 1905.04899).

        What is pasted lies where it lay, and is as wide as it is high. torchvision's transform cuts
        one window for the whole batch and mixes labels, which cannot say that a wider name is no
        rival of either kind.
        """
        device, side = generator.device, self.views.shape[-1]
        order = free[torch.randperm(len(free), generator=generator, device=device)]
        into = order[: round(amount * len(order))]
        of = order.roll(1)[: len(into)]
        length = torch.rand(len(into), 1, generator=generator, device=device).sqrt() * side
        length = length.long()
        place = torch.rand(len(into), 2, generator=generator, device=device)
        low = (place * (side - length + 1)).long()
        pasted = torch.where(boxes(low, low + length, side), self.views[of], self.views[into])
        share, others, views = self.share.clone(), self.others.clone(), self.views.clone()
        share[into] = (length[:, 0] / side) ** 2
        others[into], views[into] = self.kinds[of], pasted
        return self._replace(views=views, others=others, share=share)


class Lesson:
    """`model` is open_clip's; `step` counts the steps taken."""

    def __init__(
        self,
        folder: Path,
        preprocessing: Preprocessing,
        shelves: Sequence[Shelf],
        vocabulary: Vocabulary,
        plan: Plan,
        device: torch.device = CPU,
    ) -> None:
        import open_clip  # here, because it takes seconds

        torch.manual_seed(plan.seed)
        self.model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        self.model.to(device, memory_format=torch.channels_last)
        # Where a CPU has no bf16 of its own, a product in it takes a hundred times as long.
        self.fast = device != CPU or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if device == CPU:
            by_products(self.model.visual)
        self.tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
        self.plan, self.device = plan, device
        chosen = torch.tensor([preprocessing.mean, preprocessing.std], device=device)
        self.mean, self.deviation = chosen[..., None, None]  # (3, 1, 1) each
        self.shelves = [shelf.to(device) for shelf in shelves]
        self.vocabulary = vocabulary.to(device)
        self.sentences = vocabulary.sentences(self.tokenize)
        self.counts = [round(shelf.share * len(shelf.kinds)) for shelf in shelves]
        self.steps_an_epoch = sum(self.counts) // plan.batch
        self.optimizers = self._optimizers()
        threads = torch.get_num_threads()
        self.pace = Pace(range(1, threads + 1) if device == CPU else (threads,))
        self.step = 0
        self._recorded: dict[int, Replayed] = {}  # by the pictures' side

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon turns the convolutions, AdamW moves the rest; no decay for vectors."""
        turned = [p for p in self.model.visual.parameters() if p.ndim == 4]
        rest = [p for p in self.model.parameters() if p.ndim != 4]
        decay = self.plan.weight_decay
        groups = [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        ]
        recorded = self.device != CPU  # its count of steps is then kept on the GPU
        adam = torch.optim.AdamW(
            groups, self.plan.rate, (0.9, 0.98), fused=recorded, capturable=recorded
        )
        found = [Muon(turned, self.plan.turn), adam]
        for optimizer in found:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
                if recorded:  # a tensor, so that a recorded step reads today's
                    group["lr"] = torch.tensor(group["lr"], device=self.device)
        return found

    def rate(self) -> float:
        """Linear warm-up, then linear to zero, as a share of the plan's rates."""
        total = self.plan.epochs * self.steps_an_epoch
        warm = self.plan.warm_up * total
        return min((self.step + 1) / warm, (total - self.step) / (total - warm), 1.0)

    def epoch(self, keep: Path | None = None, every: int = 60) -> float:
        """The rest of the current epoch; the mean loss.

        `keep` is where to save after every so many steps.
        """
        self.model.train()
        number, first = divmod(self.step, self.steps_an_epoch)
        side, order = self.plan.side(number), self._order(number)
        self.pace.forget()
        losses = []
        for at in range(first, self.steps_an_epoch):
            self.pace.start()
            losses.append(self._step(order[at * self.plan.batch :][: self.plan.batch], side))
            self.pace.stop()
            if self.step % 20 == 0:
                recent = float(torch.stack(losses[-20:]).mean())
                log.info("step %d, loss %.3f, %s", self.step, recent, self.pace)
            if keep is not None and self.step % every == 0:
                self.save(keep)
        return float(torch.stack(losses).mean())

    def _order(self, epoch: int) -> Tensor:
        """(pictures, 2) shelf and row of all that is shown in an epoch."""
        generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + epoch)
        shown = []
        for number, (shelf, count) in enumerate(zip(self.shelves, self.counts, strict=True)):
            size = len(shelf.kinds)
            rounds = [torch.randperm(size, generator=generator) for _ in range(-(-count // size))]
            rows = torch.cat(rounds)[:count]
            shown.append(torch.stack([torch.full_like(rows, number), rows], 1))
        shuffled = torch.cat(shown)
        return shuffled[torch.randperm(len(shuffled), generator=generator)]

    def _step(self, chosen: Tensor, side: int) -> Tensor:
        # Each step has its own random numbers, so a resumed run goes on as if never stopped.
        seed = self.plan.seed * 7_000_003 + self.step
        chance = torch.Generator().manual_seed(seed)  # of captions, on the CPU
        generator = torch.Generator(self.device).manual_seed(seed)
        views, kinds, mixes = [], [], []
        for number, shelf in enumerate(self.shelves):
            rows = chosen[chosen[:, 0] == number, 1]
            if len(rows):
                views.append(shelf.views(rows, side, generator))
                kinds.append(shelf.kinds[rows])
                mixes.append(torch.full_like(rows, shelf.mixes))
        shown = Shown.alone(torch.cat(views), self._there(torch.cat(kinds)))
        if self.plan.mixed:
            free = torch.nonzero(torch.cat(mixes))[:, 0]
            shown = shown.mixed(self._there(free), self.plan.mixed, generator)
        tokens = self._there(self.sentences.draw(chance))
        self._set_rates()
        loss = self._follower(side, shown, tokens)(*shown, tokens)
        self.step += 1
        return loss

    def _set_rates(self) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                rate = group["peak"] * self.rate()
                if self.device == CPU:
                    group["lr"] = rate
                else:
                    group["lr"].fill_(rate)

    def _follower(self, side: int, shown: Shown, tokens: Tensor) -> Callable[..., Tensor]:
        """`_follow`; on a GPU recorded when pictures of that size are first seen."""
        if self.device == CPU:
            return self._follow
        if side not in self._recorded:
            self._recorded[side] = Replayed(self._follow, *shown, tokens)
        return self._recorded[side]

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    def _follow(self, *inputs: Tensor) -> Tensor:
        """One step of the optimizers; `inputs` are a `Shown` and tokens."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = self._loss(Shown(*inputs[:-1]), inputs[-1])
        loss.backward()
        length = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        # On a CPU bf16's convolution of 1 x 1 maps gives a NaN once in a while, and one would
        # spread. A GPU is not asked, because it would have to be waited for.
        if self.device != CPU or length.isfinite():
            for optimizer in self.optimizers:
                optimizer.step()
        else:
            log.warning("step %d is left out: a gradient is not finite", self.step)
        with torch.no_grad():  # CLIP, section 2.5: the temperature never scales by more than 100
            self.model.logit_scale.clamp_(0, math.log(100))
        return loss.detach()

    def _loss(self, shown: Shown, tokens: Tensor) -> Tensor:
        """CLIP's image-to-text loss with the whole vocabulary as the other captions."""
        images = (shown.views - self.mean) / self.deviation
        images = images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            image = self.model.encode_image(images, normalize=True)
        # The text half is too narrow to gain from bf16.
        text = self.model.encode_text(tokens, normalize=True)
        logits = self.model.logit_scale.exp() * image.float() @ text.T  # (B, K + C)
        loss = self._losses(logits, shown.kinds)
        if self.plan.mixed:
            loss = torch.lerp(loss, self._losses(logits, shown.others), shown.share)
        return loss.mean()

    def _losses(self, logits: Tensor, kinds: Tensor) -> Tensor:
        """(B, K + C) logits → (B,) losses.

        Among the exact captions one is the target and wider ones are no rivals; among the coarse
        ones all that are true share the target.
        """
        exact = logits[:, : len(self.vocabulary.kinds)]
        rivals = ~self.vocabulary.wider[kinds]  # (B, K)
        share = self.plan.smoothing * rivals / rivals.sum(1, keepdim=True)
        share = share + (1 - self.plan.smoothing) * F.one_hot(kinds, exact.shape[1])
        chances = exact.masked_fill(~rivals, -1e4).log_softmax(1)
        loss = -(share * chances).sum(1)
        true = self.vocabulary.true[kinds].float()  # (B, C)
        true = true / true.sum(1, keepdim=True).clamp(min=1)
        coarse = logits[:, len(self.vocabulary.kinds) :]
        return loss + self.plan.coarse * F.cross_entropy(coarse, true, reduction="none")

    def save(self, path: Path) -> None:
        """Everything that `load` needs to go on."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
        }
        with replace_file(path) as part:
            torch.save(state, part)

    def load(self, path: Path) -> None:
        """Go on from where `save` was called, by this plan."""
        state = torch.load(path, self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step = state["step"]
