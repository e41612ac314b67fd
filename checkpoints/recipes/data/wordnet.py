"""Names and kinds of ImageNet's 1,000 kinds, computed from WordNet's tree.

    python -m checkpoints.recipes.data.wordnet --wordnet FOLDER

FOLDER holds WordNet 3.0's `data.noun`, `index.noun` and `cntlist.rev`, as Debian's `wordnet-base`
has them. `imagenet.tsv` is written beside this file: for each kind its everyday name, what else it
is called, and every wider word that is true of it, the nearest first. Nothing is listed by hand but
articles that no rule tells, names that two kinds share, which of WordNet's names people use
(`everyday.tsv`): those that the embedded base finds much likelier than WordNet's first, looked
through; and which sense of a word is drawn where the first that fits is another (`senses.tsv`).
"""

import argparse
import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from checkpoints.recipes.data.concepts import (
    TABLES,
    Concept,
    drawing_concepts,
    like,
    photograph_concepts,
)
from demo.atomic_file import replace_file
from demo.questions.taxonomy import bare

TABLE, DRAWN = TABLES / "imagenet.tsv", TABLES / "drawn.tsv"
EVERYDAY = TABLES / "everyday.tsv"
SENSES = TABLES / "senses.tsv"
COLUMNS = ("wnid", "name", "synonyms", "group", "top", "wider")
# Two of the thousand kinds have one first name: each by another of its own.
SHARED = {
    "n02012849": "a crane (bird)",
    "n03126707": "a crane",
    "n02113186": "a Cardigan corgi",
    "n02963159": "a cardigan",
    "n03710721": "a one-piece swimsuit",
    "n03710637": "a tank suit",
    "n03773504": "a missile",
    "n04008634": "a projectile",
    "n04356056": "sunglasses",
    "n04355933": "a pair of dark glasses",
}


def _listed(text: str) -> frozenset[str]:
    return frozenset(word.replace("_", " ") for word in text.split())


# Of no use in a sentence about one thing: they are true of almost everything.
ABSTRACT = _listed("""
entity physical_entity object whole artifact organism living_thing matter substance part
relation abstraction attribute instrumentation covering commodity consumer_goods unit system
equipment article piece protection restraint obstruction causal_agent psychological_feature
placental vertebrate chordate carnivore transport implement ware support way group course fluid
liquid mixture sustenance opening surface means measure communication event self line beginning
component mechanism process causal_agency thing conveyance craft product creation solid goods
drug associate cause connection location form material pattern participant place_of_business
landing depression formation work institution control game communication_system transducer
signal connexion fixture housing post bar case feed beast being relative relation toy_dog
mineral stuff ingredient geological_formation creation source supply outlet establishment area
decoration structure device
""")
TOPS = {  # by the synset that they are all below, the first that fits
    "00007846": "a person",
    "00015388": "an animal",
    "07705931": "food",  # edible fruit
    "07707451": "food",  # vegetable
    "00021265": "food",
    "07555863": "food",
    "07881800": "food",  # beverage
    "13134947": "a plant",  # fruit, as botanists say
    "00017222": "a plant",
    "09287968": "a place",  # geological formation
    "02913152": "a place",  # building
    "04341686": "a place",  # structure
    "03953416": "a place",  # place of business
}
TOP, ARTIFACT, SKY = "a thing", "00021939", "weather or sky"
BARE = ("s", "fungus")  # endings that take no article, but these take one:
ARTICLED = ("ss", "us", "is", "bus", "lens", "canvas", "pancreas")
MASS = _listed("""
guacamole carbonara dough mashed_potato corn broccoli cauliflower espresso red_wine food
ice_cream velvet wool hay chain_mail eggnog furniture clothing cloth bedding makeup armor
electronic_equipment brass alcohol cattle coffee wine bread sauce soup cabbage citrus jewelry
glass headgear footwear tissue toilet_tissue toilet_paper tableware crockery lipstick
""")


@dataclass(frozen=True)
class WordNet:
    """WordNet's nouns.

    Attributes:
        lemmas: words by synset.
        wider: synsets right above, by synset.
        senses: synsets by word, the commonest first.
        counts: how often a word was found in a sense.
    """

    lemmas: dict[str, tuple[str, ...]]
    wider: dict[str, tuple[str, ...]]
    senses: dict[str, list[str]]
    counts: dict[tuple[str, str], int]

    @classmethod
    def read(cls, folder: Path) -> "WordNet":
        """Read the files of WordNet 3.0.

        Raises:
            OSError: they are not in `folder`.
        """
        lemmas, wider = {}, {}
        for line in _lines(folder / "data.noun"):
            fields = line.split(" ")
            count = int(fields[3], 16)
            lemmas[fields[0]] = tuple(_word(fields[4 + 2 * i]) for i in range(count))
            at = 4 + 2 * count
            pointers = [fields[at + 1 + 4 * i : at + 3 + 4 * i] for i in range(int(fields[at]))]
            wider[fields[0]] = tuple(to for sign, to in pointers if sign in ("@", "@i"))
        senses: dict[str, list[str]] = {}
        for line in _lines(folder / "index.noun"):
            fields = line.split()
            senses[_word(fields[0])] = fields[-int(fields[2]) :]
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for line in _lines(folder / "cntlist.rev"):
            key, number, seen = line.split(" ")
            word, _, rest = key.partition("%")
            known = senses.get(_word(word), [])
            if rest.startswith("1:") and int(number) <= len(known):
                counts[_word(word), known[int(number) - 1]] = int(seen)
        return cls(lemmas, wider, senses, dict(counts))

    def above(self, synset: str) -> list[str]:
        """Return all wider synsets, the nearest first, none twice."""
        found: list[str] = []
        level = [synset]
        while level:
            level = [to for one in level for to in self.wider[one] if to not in found]
            level = list(dict.fromkeys(level))
            found += level
        return found

    def familiar(self, synset: str) -> tuple[int, str]:
        """Return how often its commonest lemma was counted, and that lemma."""
        lemmas = self.lemmas[synset]
        counts = [self.counts.get((lemma.lower(), synset), 0) for lemma in lemmas]
        most = max(counts)
        return most, lemmas[counts.index(most)]


@dataclass(frozen=True)
class ImageNetKind:
    """One of ImageNet's kinds: `exact` names, the everyday one first, and `wider` words."""

    wnid: str
    exact: tuple[str, ...]
    group: str
    top: str
    wider: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the everyday name, with its article."""
        return self.exact[0]

    @cached_property
    def true(self) -> frozenset[str]:
        """Return every word, without article and in lower case, that is true of it."""
        return frozenset(bare(word).lower() for word in (*self.exact, *self.wider, self.group))


def drawn_kinds() -> tuple[ImageNetKind, ...]:
    """Return the 500 kinds of drawings by the name of their icon, in the order of their table."""
    return read_kinds(DRAWN)


def imagenet_kinds() -> tuple[ImageNetKind, ...]:
    """Return the 1,000 kinds in the order of the classifier, from `imagenet.tsv`."""
    return read_kinds(TABLE)


def read_kinds(table: Path) -> tuple[ImageNetKind, ...]:
    """Return the kinds of a table that `main` wrote, in its order."""
    with open(table, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return tuple(
        ImageNetKind(
            row["wnid"],
            (row["name"], *filter(None, row["synonyms"].split("|"))),
            row["group"],
            row["top"],
            tuple(filter(None, row["wider"].split("|"))),
        )
        for row in rows
    )


def articled(word: str) -> str:
    """Return a noun as it stands after "this is": "a tench", "sunglasses", "guacamole"."""
    if word in MASS or (word.endswith(BARE) and not word.endswith(ARTICLED)):
        return word
    return like("a thing", word)


def computed(wordnet: WordNet, wnids: Sequence[str]) -> list[ImageNetKind]:
    """Return the kinds of those WordNet ids, their names and kinds from the tree."""
    known, found = photograph_concepts(), []
    used = dict(line.split("\t") for line in EVERYDAY.read_text("utf-8").splitlines())
    for wnid in wnids:
        synset = wnid[1:]
        lemmas = wordnet.lemmas[synset]
        names = [word for word in lemmas if not _latin(word)] or [lemmas[0]]
        exact = [SHARED.get(wnid) or articled(names[0]), *map(articled, names)]
        if wnid in known and wnid not in SHARED:
            exact = [*known[wnid].exact, *exact]
        if wnid in used:
            exact = [used[wnid], *exact]
        group, top, wider = kinds_of(wordnet, synset)
        spoken = tuple(word for word in dict.fromkeys(exact))
        found.append(ImageNetKind(wnid, spoken, group or top, top, wider))
    return found


def drawn(wordnet: WordNet, photographs: Sequence[ImageNetKind]) -> list[ImageNetKind]:
    """Return the kinds of drawings, as the first sense of their name that has the same top word.

    `senses.tsv` says where another sense is drawn, or none that WordNet has ("thumbs up"), and
    what such a thing is said to be; else that is what the tree says, or the drawings' own table.

    Args:
        wordnet: the tree.
        photographs: kinds; one with the same name and top word is the same thing.
    """
    given = dict(row.split("\t", 1) for row in SENSES.read_text("utf-8").splitlines())
    found = []
    for icon, concept in drawing_concepts().items():
        synset, group = given.get(icon, "\t").split("\t")
        if icon not in given:
            synset = _first_sense(wordnet, concept)
        if not synset:
            group = group or _said(concept.group, ())
            top = group if concept.top == SKY else concept.top
            found.append(ImageNetKind(icon, (concept.name,), group, top, (bare(group), bare(top))))
            continue
        counted, top, wider = kinds_of(wordnet, synset)
        every = [word for one in wordnet.above(synset) for word in wordnet.lemmas[one]]
        own = (_said(concept.group, every),) if top == concept.top else ()
        group = group or counted or (*own, top)[0]
        said, also = bare(concept.name).lower(), wordnet.lemmas[synset]
        exact = (concept.name, *(articled(w) for w in also if said in also and w.lower() != said))
        wider = tuple(dict.fromkeys((*wider, *map(bare, (*own, group)))))
        found.append(ImageNetKind(icon, exact, group, top, wider))
    photographed = {kind.name: kind for kind in photographs}
    return [_as_photographed(kind, photographed.get(kind.name)) for kind in found]


def _as_photographed(drawn: ImageNetKind, kind: ImageNetKind | None) -> ImageNetKind:
    """Let what is drawn and photographed by one name be one thing."""
    if kind is None or kind.top != drawn.top:
        return drawn
    group = drawn.group if kind.group == kind.top else kind.group
    return replace(drawn, group=group, wider=tuple(dict.fromkeys((*kind.wider, *drawn.wider))))


def _first_sense(wordnet: WordNet, concept: Concept) -> str:
    """Return the first sense of a name, or of its last word, that has the top word; "" if none."""
    said = bare(concept.name).lower()
    senses = [s for name in (said, said.split()[-1]) for s in wordnet.senses.get(name, ())]
    if concept.top == TOP:
        senses = [s for s in senses if ARTIFACT in wordnet.above(s)]
    kinds = [(s, kinds_of(wordnet, s)) for s in senses]
    fitting = [(s, wider) for s, (_, top, wider) in kinds if top == concept.top]
    # A peacock is a butterfly too, but what is drawn is of the table's group.
    own = set(bare(concept.group).split(" or "))
    fitting.sort(key=lambda sense: not own & set(sense[1]))
    return fitting[0][0] if fitting else ""


def _said(group: str, above: Sequence[str]) -> str:
    """Return the part of "a tool or device" that is among the words above it, or else the first."""
    parts = [articled(part) for part in bare(group).split(" or ")] if " or " in group else [group]
    return next((part for part in parts if bare(part) in above), parts[0])


def kinds_of(wordnet: WordNet, synset: str) -> tuple[str, str, tuple[str, ...]]:
    """Return what a thing is: the wider word people use most, the widest, and all there are."""
    above = wordnet.above(synset)
    top = next((word for at, word in TOPS.items() if at in (synset, *above)), TOP)
    group, most, wider = "", 0, list[str]()
    for one in above:
        count, lemma = wordnet.familiar(one)
        if lemma in ABSTRACT:
            continue
        words = [word for word in wordnet.lemmas[one] if not _latin(word)]
        heads = [word.split()[-1] for word in words if " " in word and " of " not in word]
        wider += [*words, *(head for head in heads if head not in ABSTRACT)]
        head = lemma.split()[-1]
        said = head if head in COMMON else lemma
        count = max(count, SAID if head in COMMON else 0)
        if count > most and said != bare(top):
            group, most = articled(said), count
    return group, top, (*dict.fromkeys(wider), bare(top))


SAID = 30  # as often as "fish" was counted
# What compounds are said by: an edible fruit is a fruit.
COMMON = _listed("""
fruit vegetable vehicle instrument bear snake insect furniture clothing reptile amphibian monkey
flower fungus building store drink dessert tool toy
""")


def _latin(word: str) -> bool:
    """Say whether it looks like a species' name: "Tinca tinca", "genus Tinca"."""
    first, _, rest = word.partition(" ")
    return first == "genus" or (
        first[:1].isupper()
        and rest.islower()
        and rest.isalpha()
        and rest.endswith(("us", "a", "is", "ii", "um", "os", "es", "ens", "or", "ax", "i", "ix"))
    )


def _word(lemma: str) -> str:
    return lemma.split("(")[0].replace("_", " ")


def _lines(path: Path) -> list[str]:
    """Return the lines but for the licence, which is set in."""
    return [line for line in path.read_text("utf-8").splitlines() if not line.startswith(" ")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `imagenet.tsv` and `drawn.tsv`."""
    from timm.data import ImageNetInfo  # here, because it takes seconds

    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.data.wordnet")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with data.noun")
    wordnet = WordNet.read(parser.parse_args(arguments).wordnet)
    photographs = computed(wordnet, ImageNetInfo().label_names())
    _write(TABLE, photographs)
    _write(DRAWN, drawn(wordnet, photographs))


def _write(table: Path, kinds: Sequence[ImageNetKind]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    for kind in kinds:
        also, wider = "|".join(kind.exact[1:]), "|".join(kind.wider)
        writer.writerow((kind.wnid, kind.name, also, kind.group, kind.top, wider))
    with replace_file(table) as path:
        path.write_text(text.getvalue(), "utf-8")


if __name__ == "__main__":
    main()
