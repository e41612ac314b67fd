"""Fit what tells which taught fact a question asks for: `matcher.safetensors`.

    python -m checkpoints.recipes.questions.fit --out checkpoints/questions

`sets/` has 46 sets of twelve to fifteen rows, `question|answer|in other words|in other words|…`,
and ten to fourteen `~questions` near them that were never taught, written for this. Not to be
matched are these, some of the ordinary questions of `assets/`, and some wordings of the other sets.
A few networks start from seeds of their own, and their mean counts.

It prints first what it does on sets that it was not fitted on (each of three parts is left out in
turn, with a third of the ordinary questions), then what it is fitted on.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from demo.questions.encoder import SentenceEncoder
from demo.questions.matcher import Fact, Matcher, Words, rate
from demo.settings import ROOT

SETS = Path(__file__).with_name("sets")
ORDINARY = ROOT / "assets" / "ordinary_questions.txt"
PARTS, NETWORKS, HIDDEN, STEPS, BATCH = 3, 5, 16, 300, 768
RATE, DECAY = 0.02, 0.05
EASIER = -0.3  # added to every rating: ten of a hundred near questions are taken for a fact
ORDINARY_EACH, STRANGE = 25, 15  # ordinary questions and wordings of other sets, for each set
CHINESE = 3.0  # times the weight of a question in Chinese, of which there are few
WEIGHTS = {"taught": 0.3, "otherwise": 1.0, "near": 1.5, "ordinary": 0.6, "strange": 1.0}


@dataclass(frozen=True)
class Case:
    """A question asked of a set.

    Attributes:
        where: the set.
        kind: one of `WEIGHTS`.
        found: (C, E) evidence of the nearest facts.
        right: which of them is asked for, -1 for none, -2 where it is not among them.
        question: that is asked.
    """

    where: str
    kind: str
    found: np.ndarray
    right: int
    question: str


def main() -> None:
    """Cross-validate, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cases = all_cases(Matcher(SentenceEncoder(), {}))
    names = sorted({case.where for case in cases})
    outcome = list[tuple[Case, float, bool]]()
    for part in range(PARTS):
        left_out = set(names[part::PARTS])
        learned = [c for i, c in enumerate(cases) if c.where not in left_out and _learned(c)]
        network = fitted(learned)
        asked = [
            c for c in cases if c.where in left_out and (c.kind != "ordinary" or not _learned(c))
        ]
        outcome += judged(network, asked)
    print("sets left out:", report(outcome))
    for case, rated, _ in outcome:
        if case.kind in ("otherwise", "near", "ordinary") and (rated > 0) != (case.right >= 0):
            print("   ", case.where, case.kind, round(rated, 1), case.question)
    network = fitted(cases)
    print("all sets:", report(judged(network, cases)))
    tensors = {name: torch.from_numpy(x).float().contiguous() for name, x in network.items()}
    save_file(tensors, args.out / "matcher.safetensors")


def _learned(case: Case) -> bool:
    """Whether a case is learned from while sets are left out; of ordinary questions two thirds."""
    return case.kind != "ordinary" or sum(map(ord, case.question)) % 3 > 0


def all_cases(matcher: Matcher) -> list[Case]:
    """Collect the evidence of every question, asked of its set or of one it has no answer in."""
    texts = {path.stem: path.read_text("utf-8").splitlines() for path in sorted(SETS.glob("*.txt"))}
    rows = {name: [x.split("|") for x in lines if x[0] != "~"] for name, lines in texts.items()}
    ordinary = [line.split("\t")[0] for line in ORDINARY.read_text("utf-8").splitlines()]
    cases = list[Case]()
    for name, lines in texts.items():
        known = matcher.known([Fact(row[0], row[1]) for row in rows[name]])
        others = [w for other in rows if other != name for row in rows[other] for w in row[2:]]
        chance = random.Random(name)
        some = (chance.sample(ordinary, ORDINARY_EACH), chance.sample(others, STRANGE))
        asked = [("near", line[1:], -1) for line in lines if line[0] == "~"]
        asked += [
            (k, q, -1) for k, part in zip(("ordinary", "strange"), some, strict=True) for q in part
        ]
        for place, row in enumerate(rows[name]):
            asked += [("taught", row[0], place)] + [("otherwise", w, place) for w in row[2:]]
        for kind, question, place in asked:
            places, found = matcher.candidates(question, known)
            right = -1 if place < 0 else places.index(place) if place in places else -2
            if places:  # there are none in another script
                cases.append(Case(name, kind, found, right, question))
    # English before Chinese and kind by kind: another order draws other batches.
    order = list(WEIGHTS)
    return sorted(
        cases, key=lambda case: (case.where.endswith("_zh"), case.where, order.index(case.kind))
    )


def fitted(cases: Sequence[Case]) -> dict[str, np.ndarray]:
    """Fit networks by the likelihood of the right fact, or of none."""
    cases = [case for case in cases if case.right != -2]
    every = torch.from_numpy(np.concatenate([case.found for case in cases]))
    mean, deviation = every.mean(0), every.std(0) + 1e-6
    most = max(len(case.found) for case in cases)
    x = torch.zeros(len(cases), most, every.shape[1])
    there = torch.zeros(len(cases), most, dtype=torch.bool)
    for number, case in enumerate(cases):
        x[number, : len(case.found)] = (torch.from_numpy(case.found) - mean) / deviation
        there[number, : len(case.found)] = True
    # The last choice is none.
    right = torch.tensor([case.right if case.right >= 0 else most for case in cases])
    weight = torch.tensor(
        [WEIGHTS[case.kind] * (CHINESE if Words(case.question).wide else 1.0) for case in cases]
    )
    found = [_network(x, there, right, weight, seed) for seed in range(NETWORKS)]
    out = {name: torch.stack([each[name] for each in found]).numpy() for name in found[0]}
    out["offset"] = out["offset"] + np.float32(EASIER)
    return out | {"mean": mean.numpy(), "deviation": deviation.numpy()}


def _network(
    x: Tensor, there: Tensor, right: Tensor, weight: Tensor, seed: int
) -> dict[str, Tensor]:
    """Fit one network to candidates (N, C, E)."""
    generator = torch.Generator().manual_seed(seed)
    size = x.shape[-1]
    parts = {
        "inner": torch.randn(HIDDEN, size, generator=generator) / size**0.5,
        "bias": torch.zeros(HIDDEN),
        "outer": torch.randn(HIDDEN, generator=generator) / HIDDEN**0.5,
        "offset": torch.zeros(()),
    }
    for part in parts.values():
        part.requires_grad_(True)
    optimizer = torch.optim.AdamW(parts.values(), lr=RATE, weight_decay=DECAY)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        some = torch.randint(len(x), (BATCH,), generator=generator)
        inner = torch.tanh(x[some] @ parts["inner"].T + parts["bias"])
        rated = (inner @ parts["outer"] + parts["offset"]).masked_fill(~there[some], -1e4)
        logits = torch.cat([rated, torch.zeros(len(some), 1)], 1)
        each = F.cross_entropy(logits, right[some], reduction="none") * weight[some]
        loss = each.sum() / weight[some].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: part.detach() for name, part in parts.items()}


def judged(network: dict[str, np.ndarray], cases: Sequence[Case]) -> list[tuple[Case, float, bool]]:
    """Rate the best candidate of each case, and tell whether it is the right one."""
    out = []
    for case in cases:
        rated = rate(network, case.found)
        out.append((case, float(rated.max()), int(rated.argmax()) == case.right))
    return out


def report(outcome: Sequence[tuple[Case, float, bool]]) -> str:
    """Say how many are matched: rightly where there is a right one, at all where there is none."""
    parts = []
    for kind in WEIGHTS:
        some = [
            (rated > 0 and (right or case.right == -1))
            for case, rated, right in outcome
            if case.kind == kind
        ]
        parts.append(f"{kind} {100 * sum(some) / max(1, len(some)):.1f} %")
    wrong = [rated > 0 and not right for case, rated, right in outcome if case.kind == "otherwise"]
    return ", ".join([*parts, f"otherwise, but another fact {100 * sum(wrong) / len(wrong):.1f} %"])


if __name__ == "__main__":
    main()
