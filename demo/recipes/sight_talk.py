"""Talk that no picture has to do with: what the base itself says, for `sight` to keep.

`talk.tsv` has the forms of such questions and what to fill in, many of them begun like questions
about a picture. The base answers them, and beside a picture `sight` is to answer as the base does.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.spec import AdapterSpec
from demo.files import replace_file
from demo.finetune.examples import Example, encode
from demo.finetune.lessons import Lesson
from demo.finetune.probe import Question as Asked
from demo.finetune.probe import answers
from demo.finetune.rehearsal import PASSAGES, passages
from demo.llama.base import Base
from demo.llama.chat_template import Message
from demo.llama.decode import Decoder, SlotSizes
from demo.llama.tokenizer import Tokenizer
from demo.models import load_llama
from demo.recipes.sight_lessons import shortened
from demo.settings import Settings

TALK = Path(__file__).with_name("talk.tsv")
POSITIONS = 1024
SLOTS = 8  # questions answered at once


def unrelated_questions(talk: str, passages: str) -> tuple[str, ...]:
    """Questions that have nothing to do with a picture; some ask to go on with a text.

    Args:
        talk: lines of a form with `{}`, a tab, and what to fill in, parted by `|`.
        passages: paragraphs, as `assets/rehearsal.txt` has them.
    """
    forms = (line.split("\t") for line in talk.strip().splitlines())
    asked = [form.format(word) for form, words in forms for word in words.split("|")]
    openings = [" ".join(text.split()[:6]) for text in passages.strip().split("\n\n")]
    return (*asked, *(f"Continue this text: {opening}" for opening in openings))


def own_replies(base: Base, asked: Sequence[str], settings: Settings) -> list[Lesson]:
    """What the base says itself, greedily, its first sentences; on the CPU, as the kernel does."""
    model = load_llama(base, torch.device("cpu"), POSITIONS)
    decoder = Decoder(model, SlotSizes(SLOTS, POSITIONS, 1), settings.threads)
    blank = Adapter(AdapterSpec.for_base(base.config, layers=1, prompts=1))
    questions = [Asked(t, tuple(base.tokenizer.chat([Message("user", t)]))) for t in asked]
    replies: list[str] = []
    for start in range(0, len(questions), SLOTS):
        part = questions[start : start + SLOTS]
        replies += answers(decoder, model, base.tokenizer, blank, part, None, strength=0.0)
    said = [shortened(reply) for reply in replies]
    return [Lesson(text, reply) for text, reply in zip(asked, said, strict=True) if reply]


def unrelated_lessons(work: Path, base: Base, settings: Settings) -> list[Lesson]:
    """Questions without a picture and the base's own replies, written to `work` once."""
    asked = unrelated_questions(TALK.read_text("utf-8"), PASSAGES.read_text("utf-8"))
    path = work / f"unrelated-{base.fingerprint[:12]}-{_digest(asked)}.json"
    if not path.exists():
        pairs = [(le.question, le.reply) for le in own_replies(base, asked, settings)]
        with replace_file(path) as unfinished:
            unfinished.write_text(json.dumps(pairs, indent=1), "utf-8")
    return [Lesson(*pair) for pair in json.loads(path.read_text("utf-8"))]


def rehearsed(
    tokenizer: Tokenizer, talk: Sequence[Lesson], rows: Sequence[int], seed: int
) -> list[Example]:
    """Ordinary texts, and that talk, which stay as they are beside pictures, in some order."""
    chance = random.Random(seed)
    texts = [*passages(tokenizer), *(encode(tokenizer, [lesson]) for lesson in talk)]
    chance.shuffle(texts)
    return [replace(text, picture=chance.choice(rows)) for text in texts]


def _digest(asked: Sequence[str]) -> str:
    return sha256("\n".join(asked).encode()).hexdigest()[:8]
