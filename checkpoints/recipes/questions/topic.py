"""Fit what tells whether a message is about the picture in use: `topic.json`.

    python -m checkpoints.recipes.questions.topic --vqa FILE --out checkpoints/questions

About a picture are questions that people asked about photographs (VQA, Antol et al. 2015, CC BY
4.0; `--vqa` is its `train.jsonl.gz`) and those that `sight` is taught. About something else are the
ordinary questions of `assets/`, those that `sight` learns to leave to the base, and the rows of
`sets/`. Each is there as it is and as people type it. Every tenth of both is left out; the bias is
set by those about pictures: at most `LOST` of these are taken for something else.
"""

import argparse
import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from checkpoints.recipes.sight.conversations import AGAIN, AND_THIS, MORE, SURE
from checkpoints.recipes.sight.forms import asked_freely
from checkpoints.recipes.sight.people import Tree, as_people_type, question
from checkpoints.recipes.sight.questions import tower_kinds
from checkpoints.recipes.sight.talk import EXAM, questions
from demo.atomic_file import replace_file
from demo.chat.adapter_choice import points
from demo.questions.encoder import SentenceEncoder
from demo.questions.topic import FILE, topic_features
from demo.settings import ROOT

ORDINARY = ROOT / "assets" / "ordinary_questions.txt"
SETS = Path(__file__).with_name("sets")
PEOPLES, OURS = 2800, 600  # questions about pictures: people's, and those that are taught
REMARKED = 8  # times each, as there are few
SORTS = ("name", "noun", "kind", "yes_no", "either", "caption", "refusal")
REMARKS = (  # which say nothing of what they are about, or ask it in another language
    "Was ist das?", "¿Qué es esto?", "Qu'est-ce que c'est ?", "Che cos'è questo?", "Wat is dit?",
    "O que é isto?", "Vad är det här?", "Co to jest?", "Что это?", "这是什么?", "これは何ですか?",
    "Welches Tier ist das?", "¿Qué animal es?", "图片里有什么?", "Quel animal est-ce ?",
    "Hello!", "Hi", "Hey there", "Good morning", "hello", "hey", "Hello", "hi there", "Wow",
    "Cute", "Great.", "OK", "ok", "Thanks!", "Look", "See?", "What?", "And?", "Why?", "Hm", "?",
    "Thank you very much.", "Great", "Beautiful", "Go", "Yes", "No", "What do you think?",
)  # fmt: skip
LOST, LOST_AFTER = 0.01, 0.05  # of those about pictures, and right after something else
DECAY, ROUNDS = 1e-4, 200


def peoples_questions(vqa: Path) -> list[str]:
    """Return VQA's questions, none twice, sorted."""
    with gzip.open(vqa, "rt", encoding="utf-8") as lines:
        return sorted({json.loads(line)["question"].strip() for line in lines})


def about_pictures(vqa: Path, chance: random.Random) -> list[str]:
    """Return questions about pictures."""
    every, kinds = peoples_questions(vqa), tower_kinds()
    tree, found = Tree(kinds, [()] * len(kinds)), chance.sample(every, PEOPLES)
    for _ in range(OURS):
        number = chance.randrange(1500)
        found.append(question(chance.choice(SORTS), kinds[number], tree, number, chance).question)
    follow_ups = [*AGAIN, *AND_THIS, *MORE, *SURE, *(REMARKS * REMARKED)]
    return [*found, *follow_ups, *(asked_freely(chance) for _ in range(OURS))]


def about_others() -> list[str]:
    """Return questions about other things, without those of the exam."""
    kept = {line.split("\t")[0] for line in EXAM.read_text("utf-8").splitlines()}
    rows = [line.split("\t")[0] for line in ORDINARY.read_text("utf-8").splitlines()]
    for path in sorted(SETS.glob("*.txt")):
        for line in path.read_text("utf-8").splitlines():
            parts = line.strip("~").split("|")
            rows += [parts[0], *parts[2:]]
    return [
        text
        for text in dict.fromkeys((*rows, *questions()))
        if text not in kept and not points(text)
    ]


def typed(texts: Sequence[str], chance: random.Random, *, both: bool) -> list[str]:
    """Return texts as they are and as people type them, or of each one of `both`."""
    if both:
        return [*texts, *(as_people_type(text, chance) for text in texts)]
    return [as_people_type(t, chance) if at % 2 else t for at, t in enumerate(texts)]


def fit(about: Tensor, others: Tensor) -> Tensor:
    """Fit a logistic regression in which both sides count the same; above 0 is something else."""
    x = torch.cat([about, others])
    truth = torch.cat([torch.zeros(len(about)), torch.ones(len(others))])
    counts = torch.cat([torch.full((len(p),), 1 / len(p)) for p in (about, others)])
    weights, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    search = torch.optim.LBFGS([weights, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        wrong = F.binary_cross_entropy_with_logits(x @ weights + bias, truth, counts,
                                                   reduction="sum")  # fmt: skip
        total = wrong / 2 + DECAY * weights.square().sum()
        total.backward()
        return total

    search.step(loss)
    return weights.detach()


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, say how it fares with what was left out, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.questions.topic")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--vqa", type=Path, required=True, help="VQA's questions, train.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True)
    given, chance, encoder = parser.parse_args(arguments), random.Random(0), SentenceEncoder()
    about = [t for t in about_pictures(given.vqa, chance) if not points(t)]
    sides = []
    for texts, few in ((about, False), (about_others(), True)):
        chance.shuffle(texts)
        parts = [texts[len(texts) // 10 :], texts[: len(texts) // 10]]
        sides.append([topic_features(encoder, typed(part, chance, both=few)) for part in parts])
    weights = fit(sides[0][0], sides[1][0])
    pictured, rest = (torch.cat(side) @ weights for side in sides)
    first, then = (float(pictured.quantile(1 - share)) for share in (LOST, LOST_AFTER))
    kept_out = sides[0][1] @ weights, sides[1][1] @ weights
    for name, edge in (("first", first), ("after something else", then)):
        lost, found = float((kept_out[0] > edge).float().mean()), (kept_out[1] > edge).float()
        print(f"{name}: {lost:.2%} of {len(kept_out[0])} about pictures lost, "
              f"{float(found.mean()):.1%} of {len(found)} others told")  # fmt: skip
    print(f"of all: {float((rest > first).float().mean()):.1%} of {len(rest)} others told")
    kept = {
        "weights": [round(x, 4) for x in weights.tolist()],
        "bias": round(-first, 4),
        "likely": round(first - then, 4),
    }
    with replace_file(given.out / FILE) as path:
        path.write_text(json.dumps(kept) + "\n", "utf-8")


if __name__ == "__main__":
    main()
