"""What 16 bits for keys and values cost and give, beside 32, on the embedded base.

Two decoders on the same weights read the same texts and take turns at decoding, so what else the
machine does meets both alike. What they say differs by nothing but the rounding of what they keep.
"""

import argparse
import math
import os
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from demo.bench.report import Bar, BenchReport, Figure
from demo.bench.sampling import read_prompts
from demo.bench.serving import embedded_base
from demo.llama.base import Base
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.int8 import Int8Linear
from demo.llama.kernels.prefill import SLICE
from demo.llama.model import Llama
from demo.llama.tokenizer.chat_template import Message
from demo.model_loading import token_bytes
from demo.settings import ROOT, Settings

TEXT = ROOT / "tests" / "data" / "alice.txt"
POSITIONS = 2048
SHORT, LONG, STEPS = 100, 1900, 64  # tokens in a cache before so many steps
REPLY = 128
CONVERSATIONS = 4


@dataclass(frozen=True)
class Loss:
    """How far what 16 bits say of a text is from what 32 say."""

    perplexities: tuple[float, float]  # of 32 and of 16 bits
    divergence: float  # KL, in nats a token
    agreement: float  # share of places whose likeliest next token is the same
    tokens: int


def add_kv_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench kv`."""
    parser.add_argument("--runs", type=int, default=7, help="turns at decoding and reading")
    parser.add_argument("--prompts", type=int, default=50, help="replies that are compared")


def run_kv(args: argparse.Namespace) -> BenchReport:
    """Compare what is said of a text, replies, speed and bytes at 16 and at 32 bits."""
    settings, base = Settings(), embedded_base()
    torch.set_num_threads(settings.threads)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), POSITIONS)
    sizes = (SlotSizes(1, POSITIONS, 1, kv_bits) for kv_bits in (32, 16))
    full, half = (Decoder(model, size, settings.threads) for size in sizes)
    ids = base.tokenizer.encode_text(TEXT.read_text("utf-8"))[:POSITIONS]
    loss = compare_text(model, full, half, ids)
    same, tokens = compare_replies(base, full, half, args.prompts)
    before, after = loss.perplexities
    rise = 100 * (after / before - 1)
    rows = [
        Figure("perplexity of ordinary text, 32 bits", "", (before,), f"{loss.tokens:,} tokens"),
        Figure("  16 bits", "", (after,)),
        Figure("KL", "nats", (loss.divergence,)),
        Figure("likeliest next token the same", "%", (100 * loss.agreement,)),
        Figure("greedy replies word for word the same", "%", (100 * same,), f"of {args.prompts}"),
        Figure("  their tokens before a first difference", "%", (100 * tokens,)),
    ]
    bars = [
        Bar("perplexity changes, %", abs(rise), most=0.2),
        Bar("likeliest next token the same, %", 100 * loss.agreement, least=98.5),
    ]
    for count in (SHORT, LONG):
        speeds = _turns(full, half, ids[:count], args.runs)
        for what in ("reading", "decoding"):
            plain, ours = speeds[what]
            name = f"{what} {'' if what == 'reading' else 'after '}{count:,} tokens"
            rows += [
                Figure(f"{name}, 32 bits", "tok/s", plain),
                Figure("  16 bits", "tok/s", ours),
            ]
            ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
            bars.append(Bar(f"{name}, 16 bits / 32 bits", ratio, least=0.97))
    for kv_bits in (32, 16):
        size = CONVERSATIONS * POSITIONS * token_bytes(base.config, kv_bits) / 2**20
        note = f"{CONVERSATIONS} conversations of {POSITIONS:,} tokens"
        rows.append(Figure(f"keys and values, {kv_bits} bits", "MB", (size,), note))
    return BenchReport("kv", rows, bars)


def compare_text(model: Llama, full: Decoder, half: Decoder, ids: list[int]) -> Loss:
    """Read a text with both decoders, and compare what they say of each next token."""
    targets = torch.tensor([*ids[1:], 0])
    totals = torch.zeros(4, dtype=torch.float64)  # two losses, KL, places that agree
    for first in range(0, len(ids) - 1, SLICE):
        part = ids[first : first + SLICE]
        with torch.inference_mode():
            exact, ours = (
                model.logits(torch.from_numpy(decoder.hidden(0, part, None, start=first)))
                .log_softmax(-1)
                .double()[: len(ids) - 1 - first]  # nothing follows the last token
                for decoder in (full, half)
            )
        places = targets[first : first + len(exact)]
        totals[0] += F.nll_loss(exact, places, reduction="sum")
        totals[1] += F.nll_loss(ours, places, reduction="sum")
        totals[2] += F.kl_div(ours, exact, log_target=True, reduction="sum")
        totals[3] += (ours.argmax(-1) == exact.argmax(-1)).sum()
    before, after, divergence, agreement = (totals / (len(ids) - 1)).tolist()
    return Loss((math.exp(before), math.exp(after)), divergence, agreement, len(ids))


def compare_replies(base: Base, full: Decoder, half: Decoder, count: int) -> tuple[float, float]:
    """Return the share of greedy replies that are the same, and of tokens before a difference."""
    same, alike, tokens = 0, 0, 0
    stop = base.tokenizer.stop_ids
    for prompt in read_prompts()[:count]:
        ids = base.tokenizer.chat([Message("user", prompt.text)])
        exact, ours = (_reply(decoder, ids, stop) for decoder in (full, half))
        alike += len(os.path.commonprefix([exact, ours]))
        same += exact == ours
        tokens += len(exact)
    return same / count, alike / tokens


def _reply(decoder: Decoder, ids: list[int], stop: frozenset[int]) -> list[int]:
    written = [int(decoder.prefill(0, ids, None).argmax())]
    while len(written) < REPLY and written[-1] not in stop:
        place = len(ids) + len(written) - 1
        logits = decoder.step(np.array([written[-1]]), np.array([0]), np.array([place]))
        written.append(int(logits[0].argmax()))
    return written


Speeds = tuple[tuple[float, ...], tuple[float, ...]]  # of 32 and of 16 bits, tokens a second


def _turns(full: Decoder, half: Decoder, ids: list[int], runs: int) -> dict[str, Speeds]:
    """Read and decode in turn; the first turn warms and does not count."""
    found: dict[str, list[list[float]]] = {"reading": [[], []], "decoding": [[], []]}
    for turn in range(runs + 1):
        for place, decoder in enumerate((full, half)):
            begun = time.perf_counter()
            decoder.prefill(0, ids, None)
            read = time.perf_counter()
            for position in range(len(ids), len(ids) + STEPS):
                decoder.step(np.array([7]), np.array([0]), np.array([position]))
            if turn:
                found["reading"][place].append(len(ids) / (read - begun))
                found["decoding"][place].append(STEPS / (time.perf_counter() - read))
    return {what: (tuple(a), tuple(b)) for what, (a, b) in found.items()}
