"""A short reply that is asked for while long ones stream."""

import threading
from concurrent.futures import ThreadPoolExecutor

from demo.bench.client import ask
from demo.bench.report import Bar, Row
from demo.bench.served import Served

LONG = (
    "Write a long story about a lighthouse keeper and the sea.",
    "Tell me a very long story about a dragon and a village.",
    "Explain in great detail how bread is made, step by step.",
)
TOKENS = 400
PATIENCE = 60.0  # seconds until a long reply must have begun
SHORT = "Name some animals of the forest."


def fairness(program: Served, runs: int) -> tuple[list[Row], list[Bar]]:
    """Three replies of 400 tokens stream when one of 20 tokens is asked for."""
    once(program)  # what is loaded with the first words is loaded
    waits, wholes, margins, lengths = zip(*(once(program) for _ in range(runs)), strict=True)
    note = f"the long ones have {min(lengths)} to {max(lengths)} tokens"
    rows = [
        Row("20-token reply beside three of 400: first word", "s", waits, note),
        Row("  the whole of it", "s", wholes),
        Row("  ended before the first long one by", "s", margins),
    ]
    bars = [
        Bar("20-token reply begins, s, the slowest", max(waits), most=0.5),
        Bar("20-token reply ends before the long ones by, s, the closest", min(margins), least=0),
    ]
    return rows, bars


def once(program: Served) -> tuple[float, float, float, int]:
    """Seconds to the first word, to the whole reply, and from there to the first long one's end.

    The last is the tokens of the shortest of the long replies.
    """
    began = [threading.Event() for _ in LONG]
    *others, last = program.adapters
    with ThreadPoolExecutor(len(LONG)) as pool:
        long = [
            pool.submit(ask, program.url, text, began=event, adapter=name, max_new_tokens=TOKENS)
            for text, event, name in zip(LONG, began, others, strict=True)
        ]
        for event in began:
            event.wait(PATIENCE)
        short = ask(program.url, SHORT, adapter=last, max_new_tokens=20)
        replies = [future.result() for future in long]
    end = min(reply.last for reply in replies)
    tokens = min(len(program.base.tokenizer.encode_text(reply.text)) for reply in replies)
    return short.wait, short.last - short.asked, end - short.last, tokens
