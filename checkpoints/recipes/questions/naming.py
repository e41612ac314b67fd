"""Fit what tells whether a message asks what a picture shows: `naming.json`.

    python -m checkpoints.recipes.questions.naming --vqa FILE --out checkpoints/questions

Such are the wordings that `sight` is taught for a name, and those put together from parts
(`forms.py`), but for descriptions and for what goes on from something said before. All else that
`sight` is asked, questions that people asked about photographs (VQA, Antol et al. 2015, CC BY 4.0;
`--vqa` is its `train.jsonl.gz`) and ordinary ones are not. Every tenth of both is left out; at most
`TAKEN` of what is not is taken for it. The exam's wordings are on neither side.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from checkpoints.recipes.questions.topic import about_others, fit, peoples_questions, typed
from checkpoints.recipes.sight import conversations, forms
from checkpoints.recipes.sight.conversations import AGAIN, MORE, SURE
from checkpoints.recipes.sight.forms import asked_freely
from checkpoints.recipes.sight.people import CAPTIONS, Tree, colour_question, question
from checkpoints.recipes.sight.questions import ASKED, ASKED_IN_VAIN, KIND, NAME, tower_kinds
from demo.atomic_file import replace_file
from demo.questions.encoder import SentenceEncoder
from demo.questions.naming import FILE, WORD, naming_features
from demo.questions.taxonomy import bare

FREELY, TAUGHT, COLOURS, PEOPLES = 4000, 4000, 500, 8000  # texts of each sort
OFTEN = 4  # a word of so many wordings is one that they have
TAKEN = 0.005
SORTS = ("noun", "noun", "kind", "yes_no", "either", "caption", "refusal")
GOES_ON = ("and ", "then ", "now ", "same ")
PICTURED = r"(?:in|on|of) (?:this|the|that) (?:picture|photo|image|photograph)"
# What people ask of photographs and is such a question too.
NAMED = re.compile(
    r"^(?:so |hey,? |ok |please )*(?:what|who or what)(?:'?s| is| are)? "
    rf"(?:this|that|it|these|those|shown|pictured|seen|depicted|{PICTURED})"
    rf"(?: (?:thing|object|item|here|called|shown))*(?: {PICTURED})?"
    r"(?: a (?:picture|photo|image) of)?\W*$",
    re.IGNORECASE,
)


def for_a_name(chance: random.Random) -> list[str]:
    """Return questions for what a picture shows."""
    free = dict.fromkeys(asked_freely(chance) for _ in range(FREELY))
    on = {*conversations.AND_THIS, *forms.AND_THIS}
    every = [*ASKED[NAME] * 4, *free]
    return [
        text
        for text in every
        if text not in CAPTIONS and text not in on and not text.lower().startswith(GOES_ON)
    ]


def otherwise(vqa: Path, chance: random.Random) -> list[str]:
    """Return other questions beside a picture, and such as have nothing to do with one."""
    every, kinds = peoples_questions(vqa), tower_kinds()
    tree, found = Tree(kinds, [()] * len(kinds)), list[str]()
    for _ in range(TAUGHT):
        number = chance.randrange(1500)
        found.append(question(chance.choice(SORTS), kinds[number], tree, number, chance).question)
    for _ in range(COLOURS):
        noun = bare(chance.choice(kinds).name)
        found.append(colour_question("red", True, chance, noun).question)
    on = (*conversations.AND_THIS, *forms.AND_THIS)
    vain = [text for texts in ASKED_IN_VAIN.values() for text in texts]
    found += [*AGAIN, *on, *MORE, *SURE, *CAPTIONS * 8, *ASKED[KIND] * 4, *vain * 4]
    found += about_others()
    return [*found, *chance.sample([q for q in every if not NAMED.match(q)], PEOPLES)]


def plain(text: str) -> str:
    """Return a text without capitals and its end."""
    return text.lower().strip(" .?")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, say how it fares with what was left out, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.questions.naming")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--vqa", type=Path, required=True, help="VQA's questions, train.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True)
    given, chance, encoder = parser.parse_args(arguments), random.Random(0), SentenceEncoder()
    named = for_a_name(chance)
    known = set(map(plain, named))
    others = [text for text in otherwise(given.vqa, chance) if plain(text) not in known]
    for side in (named, others):
        chance.shuffle(side)
    taught = named[len(named) // 10 :]
    counts = Counter(word for text in taught for word in set(WORD.findall(text.lower())))
    words = frozenset(word for word, count in counts.items() if count >= OFTEN)
    (yes, yes_kept), (no, no_kept) = (
        [
            naming_features(encoder, typed(part, chance, both=False), words)
            for part in (side[len(side) // 10 :], side[: len(side) // 10])
        ]
        for side in (named, others)
    )
    weights = fit(no, yes)
    edge = float((no @ weights).quantile(1 - TAKEN))
    found, taken = ((part @ weights > edge).float().mean() for part in (yes_kept, no_kept))
    print(f"left out: {float(found):.1%} of {len(yes_kept)} for a name found, "
          f"{float(taken):.2%} of {len(no_kept)} others taken for it")  # fmt: skip
    kept = {
        "weights": [round(x, 4) for x in weights.tolist()],
        "bias": round(-edge, 4),
        "words": sorted(words),
    }
    with replace_file(given.out / FILE) as path:
        path.write_text(json.dumps(kept) + "\n", "utf-8")


if __name__ == "__main__":
    main()
