"""`python -m demo.paper compare`: replies of all ways of teaching side by side, and a blind file.

The paper's own instruction examples and held-out ones are answered by the base, by the adapter, by
LoRA, by full fine-tuning, and by the base after a few solved examples. In the blind file the order
is drawn anew for each instruction, and a second file says who wrote what.
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from demo.atomic_file import replace_file
from demo.bench.report import machine
from demo.errors import InputError
from demo.finetune.train.evaluate import ProbeQuestion, answers
from demo.paper.experiment import Experiment, paper_tools, train_adapter
from demo.paper.instructions import Instructions, few_shots, question, read_instructions
from demo.paper.published import INSTRUCTIONS, RATE
from demo.paper.whole import (
    FULL_RATE,
    LORA_RATE,
    Taught,
    continued,
    teach_model,
    untaught,
    with_lora,
)

SHOTS = 3  # solved instructions before the one that is asked
LETTERS = "ABCDEFGH"
Answer = Callable[[ProbeQuestion], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("data", type=Path, help="instructions and replies")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--most", type=int, help="rows to learn")
    parser.add_argument("--held-out", type=int, default=6, help="of those held out, asked too")
    parser.add_argument("--longest", type=int, default=96, help="tokens of a reply")
    parser.add_argument("--without-lora", action="store_true", help="where PEFT is not installed")
    parser.add_argument("--blind", type=Path, metavar="FILE", help="replies to judge; key beside")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Teach each way, ask, and print the replies side by side."""
    if args.longest < 1 or args.held_out < 0:
        raise InputError("A reply needs at least one token, and no count is below 0.")
    tools = paper_tools(args.llama)
    tokenizer = tools.base.tokenizer
    data = read_instructions(args.data, tokenizer, most=args.most, seed=args.seed)
    experiment = Experiment(
        data.train, data.held_out, args.epochs, args.batch, RATE, seed=args.seed
    )
    adapter = train_adapter(tools, experiment, args.folder).adapter
    asked = _asked(data, args.held_out, tokenizer)
    shown = [(t.question, t.reply) for t in _turns(data)[-SHOTS:]]

    def ours(strength: float, shots: bool = False) -> Answer:
        def answer(each: ProbeQuestion) -> str:
            ids = tuple(few_shots(each.text, shown, tokenizer)) if shots else each.ids
            said = answers(
                tools.decoder,
                tools.model,
                tokenizer,
                adapter,
                [ProbeQuestion(each.text, ids)],
                None,
                strength=strength,
                longest=args.longest,
            )
            return said[0]

        return answer

    def theirs(taught: Taught) -> Answer:
        stops = tokenizer.stop_ids
        return lambda q: tokenizer.decode(continued(taught.model, q.ids, stops, args.longest))

    ways = {"base": ours(0.0), f"base, {SHOTS} solved": ours(0.0, True), "adapter": ours(1.0)}
    if not args.without_lora:
        ways["LoRA"] = theirs(teach_model(with_lora(tools.base, args.seed), experiment, LORA_RATE))
    ways["full"] = theirs(teach_model(untaught(tools.base), experiment, FULL_RATE))
    rows: list[dict[str, Any]] = [
        {
            "instruction": q.text,
            "expected": q.expected,
            "replies": {w: a(q) for w, a in ways.items()},
        }
        for q in asked
    ]
    for row in rows:
        print(f"\n# {row['instruction']}")
        print("\n".join(f"[{way}] {said}" for way, said in row["replies"].items()))
    if args.blind:
        write_blind(args.blind, rows, args.seed)
    return {"machine": machine(), "rows": rows, "trained": len(data.train)}


def write_blind(path: Path, rows: Sequence[dict[str, Any]], seed: int) -> None:
    """Write replies without names in drawn order, and beside them, as `.key.json`, the names."""
    drawn = random.Random(seed)
    lines, key = [], []
    for number, row in enumerate(rows, 1):
        ways = sorted(row["replies"])
        drawn.shuffle(ways)
        lines += [f"## {number}. {row['instruction']}", ""]
        lines += [
            f"**{x}.** {row['replies'][way]}\n" for x, way in zip(LETTERS, ways, strict=False)
        ]
        key.append(dict(zip(LETTERS, ways, strict=False)))
    with replace_file(path) as unfinished:
        unfinished.write_text("\n".join(lines), "utf-8")
    with replace_file(path.with_suffix(".key.json")) as unfinished:
        unfinished.write_text(json.dumps(key, indent=1), "utf-8")


def _turns(data: Instructions) -> list[Any]:
    return [row.conversation.exchanges[0] for row in data.rows]


def _asked(data: Instructions, count: int, tokenizer: Any) -> list[ProbeQuestion]:
    """Return the paper's instructions and some held out; those solved before are not asked."""
    own = _turns(data)[: max(0, min(count, len(data.rows) - SHOTS))]
    return [
        *(question(text, tokenizer) for text in INSTRUCTIONS),
        *(question(turn.question, tokenizer, turn.reply) for turn in own),
    ]
