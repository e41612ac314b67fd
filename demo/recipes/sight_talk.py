"""What the base itself says of things that no picture has to do with, for `sight` to keep."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from demo.adapter.adapter import Adapter
from demo.adapter.spec import AdapterSpec
from demo.files import replace_file
from demo.finetune.lessons import Lesson
from demo.finetune.probe import Question as Asked
from demo.finetune.probe import answers
from demo.finetune.rehearsal import PASSAGES
from demo.llama.base import Base
from demo.llama.chat_template import Message
from demo.llama.decode import Decoder, SlotSizes
from demo.llama.model import Llama
from demo.recipes.sight_lessons import shortened, unrelated_questions
from demo.settings import Settings

POSITIONS = 1024


def own_replies(base: Base, model: Llama, asked: Sequence[str], settings: Settings) -> list[Lesson]:
    """What the base says itself, greedily, its first sentences."""
    decoder = Decoder(model, SlotSizes(1, POSITIONS, 1), settings.threads)
    blank = Adapter(AdapterSpec.for_base(base.config, layers=1, prompts=1))
    lessons = []
    for text in asked:
        ids = tuple(base.tokenizer.chat([Message("user", text)]))
        question = Asked(text, ids)
        reply = answers(decoder, model, base.tokenizer, blank, [question], None, strength=0.0)[0]
        if shortened(reply):
            lessons.append(Lesson(text, shortened(reply)))
    return lessons


def _digest(asked: Sequence[str]) -> str:
    return sha256("\n".join(asked).encode()).hexdigest()[:8]


def unrelated_lessons(work: Path, base: Base, model: Llama, settings: Settings) -> list[Lesson]:
    """Questions without a picture and the base's own replies, written to `work` once."""
    asked = unrelated_questions(PASSAGES.read_text("utf-8").strip())
    path = work / f"unrelated-{base.fingerprint[:12]}-{_digest(asked)}.json"
    if not path.exists():
        pairs = [(le.question, le.reply) for le in own_replies(base, model, asked, settings)]
        with replace_file(path) as unfinished:
            unfinished.write_text(json.dumps(pairs, indent=1), "utf-8")
    return [Lesson(*pair) for pair in json.loads(path.read_text("utf-8"))]
