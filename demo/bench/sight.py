"""How well `sight` reads full-size photographs that nobody taught it, and people's questions.

It is asked about an exam's pictures, with real decoding. A name is right if it is any of the words
WordNet has for the kind; yes and no follow from WordNet's tree. A reply that contradicts itself
says a name and a verdict that do not go together, whatever the picture shows.
"""

import argparse
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from checkpoints.recipes.sight.people import (
    Tree,
    is_true,
    noun_question,
    refusal_question,
    yes_no_question,
)
from checkpoints.recipes.sight.questions import REFUSALS, Known, shortened, tower_kinds
from checkpoints.recipes.tower.zero_shot import drawing_exam, embed_texts, photograph_exam
from demo.adapter.adapter import Adapter, load_adapter
from demo.bench.report import Bar, BenchReport, Figure
from demo.bench.vqa import percent
from demo.chat.adapter_choice import points
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.samples import pictures
from demo.finetune.train.evaluate import ProbeQuestion, answers
from demo.llama.base import Base, choose_device, load_llama, open_base
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.model import Llama
from demo.llama.tokenizer.chat_template import Message
from demo.model_loading import load_tower
from demo.questions.encoder import SentenceEncoder
from demo.questions.naming import TAUGHT_BEST, WHAT_IS_THIS, NamingJudge, load_naming_judge
from demo.questions.taxonomy import Taxonomy, bare
from demo.questions.topic import TopicJudge, load_topic_judge
from demo.settings import CHECKPOINTS, Settings
from demo.vision.clip import BASIC_COLOURS, Tower
from demo.vision.clip_loading import FOLDER, LOCAL
from demo.vision.image import Picture

LEAD = re.compile(r"^(?:(?:this|it|there) (?:is|may be|might be|looks like) |maybe )?")
ARTICLE = re.compile(r"\b(?:a|an|the) ")
POSITIONS, SLOTS = 512, 16  # questions that are answered at once
SEED = 0  # of wordings, and of what is asked in vain
LIMIT, IN_VAIN = 120, 60  # pictures of each sort, and questions asked in vain
SURE_COLOUR = 0.5  # of a thing's pixels, from which its colour has one name
WHAT_COLOUR = "What color is it?"
TOWER = CHECKPOINTS / FOLDER
ASIDES = Path(__file__).with_name("asides.tsv")  # questions that no picture is about, and keys
CAPTION = "a picture of "  # begins a reply to "Describe it."
WORDINGS = Path(__file__).with_name("wordings.txt")  # how people ask what it is; none is taught


def plain_reply(reply: str) -> str:
    """Strip articles, "this is", capitals and the full stop: "This is a Dog." -> "dog"."""
    text = " ".join(reply.lower().split()).rstrip(".! ")
    return ARTICLE.sub("", LEAD.sub("", text, count=1)).strip()


def said_name(reply: str) -> str:
    """Return what a reply takes the thing for: the guess in "a fish, maybe a goldfish".

    Of a caption, "A picture of a goldfish, a fish.", it is what comes first.
    """
    text = re.split(r", so |, not | \(|\. ", reply.lower())[0]
    if text.startswith(CAPTION) and ", maybe " not in text:
        text = text.split(", ")[0]
    text = text.removeprefix(CAPTION).removeprefix("what may be ")
    return plain_reply(text.split(", maybe ")[-1])


def names_it(reply: str, known: Known) -> bool:
    """Say whether it names the thing by any word for exactly it."""
    return said_name(reply) in {plain_reply(name) for name in known.exact}


def verdict(reply: str) -> bool | None:
    """Return what a reply like "This is a cat, so no." says to yes or no, if anything."""
    found = re.search(r"\b(yes|no|not)\W*$", reply.lower())
    return None if found is None else found[1] == "yes"


def kinds_by_name(kinds: Sequence[Known]) -> dict[str, list[Known]]:
    """Return the kinds that each exact name may mean, by the name as `said_name` gives it."""
    found: dict[str, list[Known]] = {}
    for kind in kinds:
        for name in kind.exact:
            found.setdefault(plain_reply(name), []).append(kind)
    return found


def contradicts(reply: str, phrase: str, named: Mapping[str, Sequence[Known]]) -> bool:
    """Say whether the verdict is not what follows from the name that the reply gives itself.

    Of kinds that share a name any may be meant: a tub is a vat, and a bath, which is none.
    """
    said, told = named.get(said_name(reply), ()), verdict(reply)
    return told is not None and bool(said) and all(is_true(k, phrase) != told for k in said)


def holds(reply: str, keys: str) -> bool:
    """Say whether the first sentences of a reply have a word that begins like one of "sun|star"."""
    words = "|".join(re.escape(key) for key in keys.split("|"))
    return re.search(rf"\b(?:{words})", shortened(reply).lower()) is not None


@dataclass(frozen=True)
class ExamFeatures:
    """Pictures to be asked about: `features` (N, S) fp32, and what is known of each."""

    known: tuple[Known, ...]
    features: Tensor


@dataclass(frozen=True)
class SightReader:
    """The adapter on its base, with real decoding, and what decides whether it is asked."""

    base: Base
    model: Llama
    decoder: Decoder
    adapter: Adapter
    judge: TopicJudge
    naming: NamingJudge
    taxonomy: Taxonomy | None

    def elsewhere(self, text: str) -> bool:
        """Say whether the chat leaves a message beside a picture to the base."""
        return not points(text) and self.judge.elsewhere(text)

    def replies(
        self,
        asked: Sequence[str],
        rows: Sequence[int] | Sequence[None],
        features: Tensor | None,
        *,
        alone: bool = False,
    ) -> list[str]:
        """Return greedy replies in order; `rows` of `features` (N, S) say which picture is seen.

        As in the chat, what is about something else is answered by the base; with `alone` the
        adapter answers everything.
        """
        if features is None:
            return self._replies(asked, rows, None, 0.0)
        left = [not alone and self.elsewhere(text) for text in asked]
        found = [""] * len(asked)
        for away, strength in ((False, 1.0), (True, 0.0)):
            places = [at for at, is_away in enumerate(left) if is_away is away]
            part = [asked[at] for at in places], [rows[at] for at in places]
            for at, said in zip(places, self._replies(*part, features, strength), strict=True):
                found[at] = said
        return found

    def _replies(
        self,
        asked: Sequence[str],
        rows: Sequence[int | None],
        features: Tensor | None,
        strength: float,
    ) -> list[str]:
        tokenizer, sighted = self.base.tokenizer, features is not None and strength > 0
        read = [
            WHAT_IS_THIS
            if sighted and self.taxonomy and text not in TAUGHT_BEST and self.naming.asks(text)
            else text
            for text in asked
        ]
        ids = [tuple(tokenizer.chat([Message("user", text)])) for text in read]
        every = [ProbeQuestion(*each) for each in zip(asked, ids, rows, strict=True)]
        found: list[str] = []
        for start in range(0, len(every), SLOTS):
            part = every[start : start + SLOTS]
            found += answers(
                self.decoder, self.model, tokenizer, self.adapter, part, features, strength=strength
            )
            print(f"\r{len(found)} of {len(every)} answered ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        if not sighted or self.taxonomy is None:
            return found
        return [self.taxonomy.agreed(*each) for each in zip(read, found, strict=True)]

    def seen(self, tower: Tower, pictures: Sequence[Picture]) -> Tensor:
        """Return the features of pictures as the adapter takes them, (N, S) or (N, S + 11)."""
        features, visual = tower.batch_features(pictures), self.adapter.visual
        if visual is None or not visual.coloured:
            return features
        return torch.cat([features, tower.colours(pictures)], 1)


def open_reader(settings: Settings, adapter: Path | None) -> SightReader:
    """Open the embedded base with `sight`."""
    base = open_base(None, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), POSITIONS)
    loaded, passport = load_adapter(adapter or settings.adapters / "sight.safetensors")
    sizes = SlotSizes(SLOTS, POSITIONS, loaded.spec.prompts)
    encoder, decoder = SentenceEncoder(), Decoder(model, sizes, settings.threads)
    judges = load_topic_judge(encoder), load_naming_judge(encoder)
    return SightReader(base, model, decoder, loaded, *judges, passport.taxonomy)


def add_sight_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench sight`."""
    parser.add_argument("--photographs", type=Path, help="folder with full-size photographs")
    parser.add_argument(
        "--drawings", type=Path, help="folder that checkpoints.recipes.data.drawings filled"
    )
    parser.add_argument("--tower", type=Path, default=TOWER, help="folder of the adapter's")
    parser.add_argument("--adapter", type=Path, help="a file; else the shipped one")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help="pictures of each sort, evenly spread"
    )
    parser.add_argument(
        "--in-vain", type=int, default=IN_VAIN, help="questions that must be refused"
    )


def run_sight(args: argparse.Namespace) -> BenchReport:
    """Ask about full-size photographs, drawings in a held-out style, and easy-VQA scenes."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    reader = open_reader(settings, args.adapter)
    tower = load_tower(replace(settings, clip=f"{LOCAL}{args.tower}"))
    shapes = load_adapter(settings.adapters / "shapes.safetensors")[0]
    kinds = tower_kinds()
    rows: list[Figure] = []
    bars: list[Bar] = []
    if args.photographs:
        exam = photograph_exam(args.photographs, args.limit)
        print(f"looking at {len(exam.pictures)} photographs", file=sys.stderr, flush=True)
        features = reader.seen(tower, exam.pictures)
        embeddings = tower.embeddings(exam.pictures)
        shares = caption_shares(args.tower, embeddings, exam.captions, exam.truth)
        known = tuple(kinds[at] for at in exam.truth)
        for found in (
            of_photographs(reader, ExamFeatures(known, features), kinds, exam.truth, shares),
            of_talk(reader, ExamFeatures(known, features), args.in_vain),
            of_familiarity(tower, features[:, : tower.feature_size]),
        ):
            rows, bars = rows + found[0], bars + found[1]
        rows += auto_choice(reader.adapter, shapes, "photographs", features)
    if args.drawings:
        drawn = drawing_exam(args.drawings, count=args.limit)
        features = reader.seen(tower, drawn.pictures)
        known = tuple(kinds[1_000 + at] for at in drawn.truth)
        asked = [WHAT_IS_THIS] * len(known)
        said = reader.replies(asked, range(len(known)), features)
        share = percent([names_it(*each) for each in zip(said, known, strict=True)])
        rows.append(Figure(f"naming, {drawn.name}", "%", (share,), f"{len(known)} drawings"))
        bars.append(Bar(f"named, {drawn.name}, %", share, least=70))
        found = of_colours(reader, features, tower.feature_size)
        rows, bars = rows + found[0], bars + found[1]
        rows += auto_choice(reader.adapter, shapes, drawn.name, features)
    every = reader.seen(tower, pictures("test")[: args.limit])
    left = auto_choice(reader.adapter, shapes, "easy-VQA's scenes", every)
    bars.append(Bar("scenes that auto leaves to shapes, %", 100 - left[0].median, least=99))
    return BenchReport("sight", rows + left, bars)


def caption_shares(
    folder: Path, embeddings: Tensor, captions: Sequence[str], truth: Sequence[int]
) -> tuple[float, float]:
    """Return percentages of pictures whose caption is the tower's nearest, and of its five."""
    import open_clip  # here, because it takes seconds

    named = f"{LOCAL}{folder}"
    model, tokenize = open_clip.create_model(named).eval(), open_clip.get_tokenizer(named)
    nearest = (embeddings @ embed_texts(model, tokenize, captions).T).topk(5).indices
    right = nearest == torch.tensor(truth)[:, None]
    return percent(right[:, 0].tolist()), percent(right.any(1).tolist())


def of_photographs(
    reader: SightReader,
    shown: ExamFeatures,
    kinds: tuple[Known, ...],
    numbers: Sequence[int],
    tower: tuple[float, float],
) -> tuple[list[Figure], list[Bar]]:
    """Measure names in one wording and in many, nouns, and yes and no, beside the tower's own."""
    known, rows = shown.known, range(len(shown.known))
    chance = random.Random(SEED)
    said = reader.replies([WHAT_IS_THIS] * len(known), rows, shown.features)
    named = [names_it(*each) for each in zip(said, known, strict=True)]
    wordings = WORDINGS.read_text("utf-8").splitlines()
    asked = [chance.choice(wordings) for _ in rows]
    worded = reader.replies(asked, rows, shown.features)
    again = [names_it(*each) for each in zip(worded, known, strict=True)]
    tree = Tree(kinds, [()] * len(kinds))
    nouns, held = of_nouns(reader, shown, tree, numbers, named, chance)
    lessons = [
        yes_no_question(k, tree, n, chance, exam=True) for k, n in zip(known, numbers, strict=True)
    ]
    judged = reader.replies([lesson.question for lesson in lessons], rows, shown.features)
    right = [verdict(r) == verdict(e.reply) for r, e in zip(judged, lessons, strict=True)]
    names = kinds_by_name(kinds)
    against = [contradicts(r, asked_about(e), names) for r, e in zip(judged, lessons, strict=True)]
    first, five = tower
    own, other = percent(named), percent(again)
    refused = percent([r in REFUSALS.values() for r in (*said, *worded, *held)])
    every = (*asked, *(lesson.question for lesson in lessons))
    away = percent([reader.elsewhere(text) for text in every])
    figures = [
        Figure("the tower, top-1", "%", (first,), f"{len(known)} photographs, 1,000 captions"),
        Figure("the tower, top-5", "%", (five,)),
        Figure("naming", "%", (own,), WHAT_IS_THIS),
        Figure("naming, in people's wordings", "%", (other,), f"{len(wordings)} wordings"),
        *nouns,
        Figure("yes or no", "%", (percent(right),), f"{len(judged)} questions"),
        Figure("  verdict against the reply's own words", "%", (percent(against),)),
        Figure("refused and could be answered", "%", (refused,)),
        Figure("taken for a question about something else", "%", (away,), "wordings, yes or no"),
    ]
    bars = [
        Bar("the tower, top-1, %", first, least=84),
        Bar("the tower, top-5, %", five, least=96),
        Bar("named, % of the tower's top-1", 100 * own / max(first, 1e-9), least=95),
        Bar("named in other wordings, points less", own - other, most=3),
        Bar("What noun is this, % of what is named", nouns[0].median, least=90),
        Bar("yes or no, %", percent(right), least=88),
        Bar("contradictions, %", percent(against), most=0),
        Bar("refused and not due, %", refused, most=1),
    ]
    return figures, bars


def of_nouns(
    reader: SightReader,
    shown: ExamFeatures,
    tree: Tree,
    numbers: Sequence[int],
    named: Sequence[bool],
    chance: random.Random,
) -> tuple[list[Figure], list[str]]:
    """Ask "What dog is this?" of what was named rightly and has such a noun."""
    every = zip(shown.known, numbers, named, strict=True)
    rows = [r for r, (known, _, right) in enumerate(every) if right and tree.asked(known)]
    asked = [
        f"What {tree.asked(shown.known[r])[0]} is this?"
        if chance.random() < 0.5
        else noun_question(shown.known[r], tree, numbers[r], chance, exam=True).question
        for r in rows
    ]
    said = reader.replies(asked, rows, shown.features)
    share = percent([names_it(s, shown.known[r]) for s, r in zip(said, rows, strict=True)])
    return [Figure("naming, What dog is this?", "%", (share,), f"{len(rows)} named before")], said


def asked_about(lesson: Exchange) -> str:
    """Return the thing that a question of yes or no asks about, without its article."""
    text = lesson.question.rstrip("?.")
    for form in (r"Is there (.+) in the picture", r"Would you say that this is (.+)"):
        found = re.fullmatch(form, text)
        if found:
            return bare(found[1])
    return text


def of_colours(reader: SightReader, features: Tensor, plain: int) -> tuple[list[Figure], list[Bar]]:
    """Measure how often the colour is said that most pixels of a thing have.

    Args:
        reader: the adapter.
        features: (N, S + 11), or (N, S) of one that is told no colours.
        plain: S.
    """
    if features.shape[1] == plain:
        return [], []
    most = features[:, plain:].max(1)
    rows = [row for row, share in enumerate(most.values.tolist()) if share >= SURE_COLOUR]
    said = reader.replies([WHAT_COLOUR] * len(rows), rows, features)
    names = [BASIC_COLOURS[int(most.indices[row])] for row in rows]
    right = percent([f"mostly {n}" in reply for n, reply in zip(names, said, strict=True)])
    figure = Figure("colour, as most pixels have it", "%", (right,), f"{len(rows)} drawings")
    return [figure], [Bar("colour, %", right, least=85)]


def of_talk(
    reader: SightReader, shown: ExamFeatures, in_vain: int
) -> tuple[list[Figure], list[Bar]]:
    """Measure what it must refuse, and what has nothing to do with the picture."""
    chance = random.Random(SEED)
    rows = [chance.randrange(len(shown.known)) for _ in range(in_vain)]
    lessons = [refusal_question(shown.known[row], chance, exam=True) for row in rows]
    said = reader.replies([lesson.question for lesson in lessons], rows, shown.features)
    refused = percent([r.strip() == e.reply for r, e in zip(said, lessons, strict=True)])
    lines = ASIDES.read_text("utf-8").splitlines()
    texts, keys = zip(*(line.split("\t") for line in lines), strict=True)
    plain = reader.replies(texts, [None] * len(texts), None)
    pictured = [chance.randrange(len(shown.known)) for _ in texts]
    right = [holds(*each) for each in zip(plain, keys, strict=True)]
    kept, sighted = (
        percent([holds(r, k) for r, k, own in zip(beside, keys, right, strict=True) if own])
        for beside in (
            reader.replies(texts, pictured, shown.features, alone=alone) for alone in (False, True)
        )
    )
    figures = [
        Figure("refusals, word for word", "%", (refused,), f"{in_vain} questions"),
        Figure(
            "about other things, right by the base alone", "%", (percent(right),), f"{len(texts)}"
        ),
        Figure("  answer kept beside a photograph", "%", (kept,), "of those"),
        Figure("  the same where the adapter answers all", "%", (sighted,)),
    ]
    bars = [Bar("refusals, %", refused, least=95), Bar("talk, answer kept, %", kept, least=95)]
    return figures, bars


def of_familiarity(tower: Tower, features: Tensor) -> tuple[list[Figure], list[Bar]]:
    """Measure how many photographs of known kinds are called unfamiliar."""
    scores = tower.in_distribution_scores(features)
    if scores is None:
        return [], []
    strange = percent((scores < 0).tolist())
    bar = Bar("known photographs called unfamiliar, %", strange, most=5)
    return [Figure("known photographs called unfamiliar", "%", (strange,))], [bar]


def auto_choice(sight: Adapter, shapes: Adapter, what: str, features: Tensor) -> list[Figure]:
    """Measure for which share of the pictures *auto* asks `sight`, and not `shapes`."""
    assert sight.visual is not None and shapes.visual is not None
    plain = features[:, : len(shapes.visual.mean)]  # which is told no colours
    sighted = sight.visual.likeness(features) > shapes.visual.likeness(plain)
    note = f"{len(sighted):,} pictures"
    return [Figure(f"auto asks sight, {what}", "%", (percent(sighted.tolist()),), note)]
