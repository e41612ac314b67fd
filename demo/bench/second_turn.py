"""The second turn of a long conversation, beside reading the whole of it again.

In process, on the runtime that the page uses: over `/chat` every question is a conversation of its
own.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from demo.bench.adapters import fill
from demo.bench.report import Bar, Row
from demo.bench.served import text_of
from demo.chat.conversation import Conversation
from demo.llama.cache import Base
from demo.runtime import Runtime
from demo.settings import Sampling, Settings

TOKENS = 1000
SHORT = Sampling(max_new_tokens=12)


def second_turn(base: Base, runs: int) -> tuple[list[Row], list[Bar]]:
    """Time to first token of a second turn; then of the same turn with another adapter.

    Another adapter makes every kept key and value wrong, so the second time all is prefilled.
    """
    with ready(base) as (runtime, adapters):
        once(runtime, adapters, text_of(base, TOKENS))  # both prefixes are known from here on
        pairs = [once(runtime, adapters, text_of(base, TOKENS)) for _ in range(runs)]
    kept, whole, tokens = zip(*pairs, strict=True)
    note = f"{max(tokens):,.0f} tokens with the second turn"
    rows = [
        Row("first token of a second turn", "s", kept, note),
        Row("  the same with everything prefilled", "s", whole),
    ]
    share = 100 * rows[0].median / rows[1].median
    return rows, [Bar("second turn / prefilling it all, %", share, most=20)]


def once(runtime: Runtime, adapters: list[str], text: str) -> tuple[float, float, int]:
    """Seconds with the kept keys and values, seconds without, and the prompt's tokens."""
    conversation, (own, other, *_) = Conversation(), adapters
    conversation.ask(text)
    answer(runtime, conversation, own)
    conversation.ask("What happened on the next day?")
    kept = answer(runtime, conversation, own)
    conversation.retry()
    whole = answer(runtime, conversation, other)
    return kept, whole, conversation.turns[-1].stats.prompt_tokens


def answer(runtime: Runtime, conversation: Conversation, adapter: str) -> float:
    """Answers the last turn; seconds until its first token."""
    for _ in runtime.reply(conversation, adapter=adapter, sampling=SHORT):
        pass
    return conversation.turns[-1].stats.first_token_s


@contextmanager
def ready(base: Base) -> Iterator[tuple[Runtime, list[str]]]:
    """A loaded runtime and the names of its random adapters."""
    with tempfile.TemporaryDirectory() as folder:
        names = fill(Path(folder), base, 2)
        runtime = Runtime(replace(Settings(), adapters=Path(folder)))
        runtime.start()
        while (state := runtime.status().state) == "loading":
            time.sleep(0.1)
        if state == "failed":
            raise SystemExit("The model could not be loaded.")
        try:
            yield runtime, names
        finally:
            runtime.close()
