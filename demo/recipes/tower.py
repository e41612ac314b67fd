"""Train a small open_clip model from scratch: `python -m demo.recipes.tower --out FOLDER`.

FOLDER holds `open_clip_config.json`; the weights, a passport and, where the config names one, a
tokenizer of the captions' words are written beside it, so that open_clip itself can open the result
as `local-dir:FOLDER`. `--resume` goes on from the last state.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.files import replace_file
from demo.recipes.drawings import STYLES, UNSEEN
from demo.recipes.lesson import CPU, Lesson, Plan, stages
from demo.recipes.shelves import Shelf, drawing_shelf, photograph_shelf, scene_shelf
from demo.recipes.vocabulary import Kind, Vocabulary, drawing_kinds, photograph_kinds, shape_kinds
from demo.recipes.words import SETTINGS, TOKENIZER, write_tokenizer
from demo.recipes.zero_shot import Exam, drawing_exam, photograph_exam, scene_exam, score
from demo.vision.clip import Tower
from demo.vision.media import Picture
from demo.vision.preprocessing import Preprocessing
from demo.vision.tower_files import (
    CONFIG,
    PASSPORT,
    STATISTICS,
    WEIGHTS,
    file_digest,
    visual_parts,
)

SMALLEST = 0.05  # standard deviation; features have variance 1 within a depth
MEASURED = 6000  # pictures for the features' statistics
QUICK = 1000  # pictures of each exam after an epoch
CURVE, STATE = "curve.jsonl", "state.pt"
log = logging.getLogger("demo.recipes.tower")  # run as a program, `__name__` is another


@dataclass(frozen=True)
class Sources:
    """What to learn from: easy-VQA's scenes, and folders with photographs and drawings."""

    easy_vqa: bool = True
    photographs: Path | None = None
    drawings: Path | None = None

    def vocabulary(self) -> Vocabulary:
        kinds: list[Kind] = shape_kinds() if self.easy_vqa else []
        kinds += photograph_kinds() if self.photographs else []
        kinds += drawing_kinds() if self.drawings else []
        return Vocabulary(kinds)

    def shelves(self, vocabulary: Vocabulary) -> list[Shelf]:
        """The pictures to learn; drawings lie on photographs now and then."""
        found: list[Shelf] = [scene_shelf(vocabulary, "train")] if self.easy_vqa else []
        grounds = None
        if self.photographs:
            found.append(photograph_shelf(self.photographs, vocabulary, "train"))
            grounds = found[-1].pixels
        if self.drawings:
            found.append(drawing_shelf(self.drawings, vocabulary, list(STYLES), grounds))
        return found

    def exams(self, preprocessing: Preprocessing, count: int | None = None) -> list[Exam]:
        """The pictures to judge by, `count` of each source."""
        found = [scene_exam(preprocessing, count)] if self.easy_vqa else []
        if self.photographs:
            found.append(photograph_exam(self.photographs, preprocessing, count))
        if self.drawings:
            found.append(drawing_exam(self.drawings, next(iter(UNSEEN)), preprocessing, count))
        return found


def preprocessing_of(folder: Path) -> Preprocessing:
    """The config file's image size and `preprocess_cfg`."""
    config = json.loads((folder / CONFIG).read_text())
    side, chosen = config["model_cfg"]["vision_cfg"]["image_size"], config["preprocess_cfg"]
    chosen = chosen | {"mean": tuple(chosen["mean"]), "std": tuple(chosen["std"])}
    return Preprocessing((side, side), **chosen)


def trunk_of(folder: Path) -> str:
    """The config file's image network, as timm calls it."""
    return json.loads((folder / CONFIG).read_text())["model_cfg"]["vision_cfg"]["timm_model_name"]


def save(model: nn.Module, folder: Path, shelves: Sequence[Shelf], passport: dict) -> None:
    """Write weights, feature statistics, and the passport that vouches for both.

    Matrices are halved; vectors stay fp32: they are few, and small running variances would vanish.
    """
    state = {
        name: (value.half() if value.ndim > 1 else value).contiguous()
        for name, value in model.state_dict().items()
    }
    with replace_file(folder / WEIGHTS) as path:
        save_file(state, path)
    with replace_file(folder / STATISTICS) as path:
        save_file({"statistics": feature_statistics(model, shelves)}, path)
    words = [name for name in (TOKENIZER, SETTINGS) if (folder / name).is_file()]
    files = (CONFIG, WEIGHTS, STATISTICS, *words)
    passport = passport | {"sha256": {name: file_digest(folder / name) for name in files}}
    with replace_file(folder / PASSPORT) as path:
        path.write_text(json.dumps(passport, indent=1) + "\n")


def feature_statistics(model: nn.Module, shelves: Sequence[Shelf]) -> Tensor:
    """Mean and standard deviation of `Tower.features` over looks at the pictures, (2, S) fp32."""
    tower = Tower(visual_parts("unfinished", model), torch.device("cpu"))
    generator, parts = torch.Generator().manual_seed(0), []
    total = sum(len(shelf.kinds) * shelf.share for shelf in shelves)
    for shelf in shelves:
        count = round(MEASURED * len(shelf.kinds) * shelf.share / total)
        rows = torch.randint(len(shelf.kinds), (count,), generator=generator)
        for some in rows.split(250):
            views = shelf.views(some, tower.preprocessing.size[0], generator)
            pixels = (views * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            parts.append(tower.batch([Picture(p.contiguous().numpy()) for p in pixels]))
    features = torch.cat(parts)
    # A number that hardly moves over these pictures must not be blown up by others.
    return torch.stack([features.mean(0), features.std(0).clamp(min=SMALLEST)])


def own_words(folder: Path, vocabulary: Vocabulary) -> None:
    """A tokenizer of the captions' words, where the config asks for one that lies beside it."""
    text = json.loads((folder / CONFIG).read_text())["model_cfg"]["text_cfg"]
    if "hf_tokenizer_name" in text:
        said = vocabulary.all_sentences()
        write_tokenizer(folder, said, text["vocab_size"], text["context_length"])


def train(
    folder: Path,
    sources: Sources,
    plan: Plan,
    resume: bool,
    device: torch.device = CPU,
    every: int = 1,
) -> None:
    """Train, log the curve, and write the files into `folder`.

    Args:
        every: epochs from one row of the curve, and one saved state, to the next.
    """
    vocabulary = sources.vocabulary()
    own_words(folder, vocabulary)
    shelves, preprocessing = sources.shelves(vocabulary), preprocessing_of(folder)
    lesson = Lesson(folder, preprocessing, shelves, vocabulary, plan, device)
    if resume:
        lesson.load(folder / STATE)
    else:
        (folder / CURVE).write_text("")
    exams = sources.exams(preprocessing, QUICK)
    total = plan.epochs * lesson.steps_an_epoch
    log.info("%d steps of %d pictures from step %d", total, plan.batch, lesson.step)
    while lesson.step < total:
        epoch, wall, cpu = lesson.step // lesson.steps_an_epoch, time.time(), time.process_time()
        # A GPU's epochs take seconds; a CPU's may be cut off within one.
        loss = lesson.epoch(folder / STATE if device == CPU else None)
        if (epoch + 1) % every and epoch + 1 < plan.epochs:
            continue
        lesson.save(folder / STATE)
        minutes = {"minutes": time.time() - wall, "cpu_minutes": time.process_time() - cpu}
        row = {"epoch": epoch + 1, "side": plan.side(epoch), "loss": round(loss, 4)}
        row |= {name: round(seconds / 60, 1) for name, seconds in minutes.items()}
        row |= score(lesson.model, lesson.tokenize, exams, preprocessing, plan.side(epoch))
        with open(folder / CURVE, "a") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s", json.dumps(row))
    lesson.model.to(CPU)
    curve = [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]
    exams = sources.exams(preprocessing)
    passport = {
        "format": 1,
        "name": f"{'everyday' if sources.photographs else 'scenes'}-{trunk_of(folder)}",
        "sees": sources_in_words(sources),
        "licence": "Apache-2.0",
        "plan": asdict(plan),
        "pictures": [len(shelf.kinds) for shelf in shelves],
        "parameters": sum(p.numel() for p in lesson.model.parameters()),
        "zero_shot": score(lesson.model, lesson.tokenize, exams, preprocessing),
        "curve": curve,
    }
    log.info("%s", json.dumps(passport["zero_shot"]))
    save(lesson.model, folder, shelves, passport)


def sources_in_words(sources: Sources) -> str:
    """What a tower taught with these sources knows."""
    known = ["flat shapes (circle, rectangle, triangle) in eight colours"] * sources.easy_vqa
    known += ["photographs of 200 everyday kinds"] * (sources.photographs is not None)
    known += ["drawings of 500 kinds"] * (sources.drawings is not None)
    return "; ".join(known)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.tower", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with the config")
    parser.add_argument("--photographs", type=Path, help="folder with Tiny ImageNet's zips")
    parser.add_argument("--drawings", type=Path, help="folder that demo.recipes.drawings filled")
    parser.add_argument("--no-scenes", action="store_true", help="leave easy-VQA out")
    parser.add_argument("--stages", type=stages, default=Plan.stages, help="like 64x8,96x6")
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--turn", type=float, default=Plan.turn, help="rate of the convolutions")
    parser.add_argument(
        "--mixed", type=float, default=Plan.mixed, help="share with a part pasted in"
    )
    parser.add_argument("--device", type=torch.device, default=CPU, help="cpu or cuda")
    parser.add_argument("--every", type=int, default=1, help="epochs from one exam to the next")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved state")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("demo.recipes").setLevel(logging.INFO)
    if given.threads:
        torch.set_num_threads(given.threads)
    torch.backends.cudnn.benchmark = True  # pictures of one size come for many epochs
    sources = Sources(not given.no_scenes, given.photographs, given.drawings)
    plan = Plan(given.stages, given.seed, given.batch, given.turn, mixed=given.mixed)
    train(given.out, sources, plan, given.resume, given.device, given.every)


if __name__ == "__main__":
    main()
