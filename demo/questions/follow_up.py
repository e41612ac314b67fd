"""A question that goes on from the one before it: "And on Sundays?".

By itself it says too little. What is meant is the question that was asked before, with something
else in the place of what it asked about.
"""

import re
from collections.abc import Sequence

from demo.questions.matcher import Words, stem

LINKS = r"(?:(?:and|but|or|so|ok|okay|then)\W+)"
BEGINNING = re.compile(rf"^\W*(?:{LINKS}*(?:what|how) about\b|{LINKS}*(?:and|or)\b)", re.IGNORECASE)
CHINESE_BEGINNING, CHINESE_END = re.compile(r"^(那么?|还有)"), re.compile(r"呢[?？。!！]*$")
MOST_WORDS = 8  # of a question that may lean on the one before it


def completed(asked: str, before: str, taught: Sequence[Words]) -> str:
    """Return a question that stands by itself; `asked` where it does already.

    The words of `before` that no other taught question has tell what it was about. They give way to
    those of `asked`: "When is training for beginners?", "and juniors?" → "When is training for
    juniors".

    Args:
        asked: now.
        before: the taught question that was asked before, "" for none.
        taught: all questions that were taught.
    """
    said = Words(asked.strip())
    rest = BEGINNING.sub("", said.text)
    if said.wide:
        rest = CHINESE_END.sub("", CHINESE_BEGINNING.sub("", said.text))
    rest = rest.strip(" ?!.,？！。，")
    if rest in ("", said.text.strip(" ?!.,？！。，")) or len(said.all) > MOST_WORDS:
        return asked
    frame = Words(before)
    if frame.all not in {other.all for other in taught}:
        return asked
    shared = {s for other in taught if other.all != frame.all for s in other.stems}
    own = [at for at, w in enumerate(frame.all) if w in frame.content and stem(w) not in shared]
    joint = "" if frame.wide else " "
    if not own:
        return joint.join((*frame.all, rest))
    first = last = own[-1]
    while first - 1 in own:
        first -= 1
    ahead, after = frame.all[:first], frame.all[last + 1 :]
    fitting = _before(rest, "".join(after)) if frame.wide else _after(rest, ahead)
    return joint.join((*ahead, fitting, *after))


def _after(rest: str, ahead: Sequence[str]) -> str:
    """Leave out the small words that `rest` begins with, where something stands before it."""
    words, content = rest.split(), Words(rest).content
    while len(words) > 1 and ahead and words[0].casefold() not in content:
        words.pop(0)
    return " ".join(words)


def _before(rest: str, after: str) -> str:
    """Leave out what `rest` ends with and what comes after it begins with."""
    sizes = range(len(rest), 0, -1)
    return rest[: -next((n for n in sizes if after.startswith(rest[-n:])), 0) or None]
