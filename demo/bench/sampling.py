"""Which sampling suits the base: 100 varied prompts, answered under several settings.

A reply *loops* when one run of eight tokens comes four times in it. Where a prompt has one right
answer, a rule (a regular expression beside it in `assets/prompts.tsv`) says whether it is there.
Settings are chosen by the prompts with even numbers and judged by the others.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from demo.bench.report import Bar, BenchReport, Figure
from demo.chat.scheduler import Engine, GenerationRequest, Stream
from demo.llama.tokenizer.chat_template import Message
from demo.model_loading import load_language
from demo.settings import ROOT, Sampling, Settings

PROMPTS = ROOT / "assets" / "prompts.tsv"
RUN, TIMES = 8, 4  # tokens that come again, and how often, in a reply that loops
TOKENS = 256
CANDIDATES = (
    Sampling(repetition_penalty=1.0),
    Sampling(repetition_penalty=1.1),
    Sampling(temperature=0.3, top_p=0.9, repetition_penalty=1.1),
    Sampling(repetition_penalty=1.2),
    Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.0),
    Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.1),
)


@dataclass(frozen=True)
class Prompt:
    """A prompt, and the rule that its answer has to fulfil, None where there is none."""

    text: str
    rule: re.Pattern[str] | None


@dataclass(frozen=True)
class Answered:
    """What became of one prompt."""

    looped: bool
    cut: bool
    right: bool | None  # None without a rule
    tokens: int


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench sampling`."""
    parser.add_argument("--default", action="store_true", help="only the default settings")


def run_sampling(args: argparse.Namespace) -> BenchReport:
    """Answer all prompts under each of the settings."""
    settings = Settings(reply_seconds=3600)
    torch.set_num_threads(settings.threads)
    engine = load_language(settings, lambda message, share: None)
    prompts = read_prompts()
    others = () if args.default else (s for s in CANDIDATES if s != Sampling())
    figures: list[Figure] = []
    default: list[Answered] = []
    for sampling in (Sampling(), *others):
        found = answer(engine, prompts, sampling)
        default = default or found
        for part, which in (("chosen by", found[::2]), ("judged by", found[1::2])):
            fresh = _figures(f"{said(sampling)}, {part} {len(which)}", which)
            for figure in fresh:  # each of the settings takes minutes
                print(f"{figure.name}: {figure.runs[0]:.1f}", file=sys.stderr, flush=True)
            figures += fresh
    engine.scheduler.close()
    loops = 100 * sum(reply.looped for reply in default) / len(prompts)
    return BenchReport("sampling", figures, [Bar("replies that loop by default, %", loops, most=5)])


def read_prompts() -> list[Prompt]:
    """Read the prompts that come with the program."""
    lines = PROMPTS.read_text("utf-8").splitlines()
    pairs = [(*line.split("\t"), "")[:2] for line in lines]
    return [Prompt(text, re.compile(rule, re.IGNORECASE) if rule else None) for text, rule in pairs]


def answer(engine: Engine, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answered]:
    """Answer prompts, as many at once as there are slots."""
    waiting = list(enumerate(prompts))
    running: list[Stream] = []
    streams: dict[int, Stream] = {}
    while waiting or running:
        while waiting and len(running) < 8:
            number, prompt = waiting.pop(0)
            streams[number] = engine.scheduler.submit(_request(engine, prompt, sampling))
            running.append(streams[number])
        running[0].wait(TOKENS, 1.0)
        running = [stream for stream in running if not stream.done]
    return [judged(engine, prompt, streams[n]) for n, prompt in enumerate(prompts)]


def judged(engine: Engine, prompt: Prompt, stream: Stream) -> Answered:
    """Say what became of a prompt."""
    text = engine.base.tokenizer.decode(stream.ids)
    right = bool(prompt.rule.search(text)) if prompt.rule else None
    return Answered(loops(stream.ids), stream.stopped == "length", right, len(stream.ids))


def loops(ids: Sequence[int]) -> bool:
    """Tell whether one run of tokens comes again and again."""
    runs = Counter(tuple(ids[at : at + RUN]) for at in range(len(ids) - RUN + 1))
    return max(runs.values(), default=0) >= TIMES


def said(sampling: Sampling) -> str:
    """Name settings in a few words."""
    drawn = f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}"
    how = drawn if sampling.temperature else "greedy"
    return f"{how}, penalty {sampling.repetition_penalty:g}"


def _request(engine: Engine, prompt: Prompt, sampling: Sampling) -> GenerationRequest:
    tokenizer = engine.base.tokenizer
    ids = tokenizer.chat([Message("user", prompt.text)])
    return GenerationRequest(
        ids, None, (), prompt.text, sampling, tokenizer.stop_ids, TOKENS, 3600.0
    )


def _figures(name: str, found: Sequence[Answered]) -> list[Figure]:
    ruled = [reply.right for reply in found if reply.right is not None]
    share = 100 / len(found)
    return [
        Figure(f"{name}: loops", "%", (share * sum(reply.looped for reply in found),)),
        Figure(f"{name}: cut", "%", (share * sum(reply.cut for reply in found),)),
        Figure(f"{name}: right by rule", "%", (100 * sum(ruled) / max(len(ruled), 1),)),
        Figure(f"{name}: tokens", "", (sum(reply.tokens for reply in found) / len(found),)),
    ]
