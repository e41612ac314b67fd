"""What the tab "Library" shows of adapters: cards, and the facts of one."""

import time
from dataclasses import dataclass

from demo.adapter.gates import gates_of_file
from demo.adapter.library import Compatibility, LibraryEntry
from demo.adapter.shelf import fits
from demo.errors import CheckpointError
from demo.ui.html import render
from demo.ui.library.words import LibraryWords

SHOWN = 60  # cards at once: more are searched for, not scrolled through
TEMPLATE = "library.html"


@dataclass(frozen=True)
class Filter:
    """Which adapters are asked for: those with all words of `search`, of one `show`."""

    search: str = ""
    show: str = "all"  # or "fits", "own"

    def takes(self, entry: LibraryEntry, owner: str, fit: Compatibility | None) -> bool:
        """Tell whether an adapter is among them."""
        passport = entry.passport
        text = f"{passport.name} {passport.description} {passport.base} {passport.data}".lower()
        if not all(word in text for word in self.search.lower().split()):
            return False
        if self.show == "own":
            return entry.owner == owner
        return self.show != "fits" or fit is None or fits(entry, fit)


def cards(
    entries: list[LibraryEntry],
    count: int,
    owner: str,
    fit: Compatibility | None,
    words: LibraryWords,
    chosen: str = "",
) -> str:
    """Render the first cards of those that are asked for.

    Args:
        entries: that are asked for.
        count: of all there are.
        owner: who looks.
        fit: what is loaded, None while nothing is.
        words: of the tab.
        chosen: the name of the adapter whose facts are open.
    """
    shown = [
        {
            "name": entry.passport.name,
            "text": words.said(entry.passport.description) or words.no_description,
            "kind": ", ".join(_kinds(entry, words)),
            "size": _size(entry.stamp[1]),
            "own": words.own if entry.owner == owner and owner else words.shipped,
            "misfit": words.misfit if fit and not fits(entry, fit) else "",
            "gates": _strip(entry),
            "chosen": entry.passport.name == chosen,
        }
        for entry in entries[:SHOWN]
    ]
    if len(entries) > SHOWN:
        told = words.narrowed.format(shown=SHOWN, all=f"{len(entries):,}")
    elif count == 1:
        told = words.counted_one
    else:
        told = words.counted.format(shown=f"{len(entries):,}", all=f"{count:,}")
    nothing = "" if shown else words.nothing
    return render(TEMPLATE, "cards", cards=shown, told=told, nothing=nothing, gates=words.gates)


def facts(entry: LibraryEntry, words: LibraryWords) -> str:
    """Render everything that is known of one adapter."""
    passport, origin = entry.passport, entry.passport.origin
    data = words.said(passport.data)
    made_from = data or words.unknown
    if origin:
        made_from = words.released_by.format(kind=origin.kind, file=origin.file)
    elif passport.data and passport.examples:
        made_from = words.examples.format(data=data, count=passport.examples)
    rows = [
        (words.base, passport.base),
        (words.tower, passport.tower or "–"),
        (words.kind, ", ".join(_kinds(entry, words))),
        (words.numbers, f"{passport.spec.parameters:,}"),
        (words.size, _size(entry.stamp[1])),
        (words.made_from, made_from),
        (words.date, time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.stamp[0] / 1e9))),
        (words.licence, passport.license or words.unknown),
    ]
    if origin and origin.note:
        rows.append((words.left_open, words.said(origin.note)))
    return render(
        TEMPLATE,
        "facts",
        name=passport.name,
        text=words.said(passport.description) or words.no_description,
        rows=rows,
        gates=_strip(entry),
        gates_title=words.gates,
    )


def message(text: str, *, bad: bool = False) -> str:
    """Render a sentence about what was done, or could not be."""
    return render(TEMPLATE, "message", text=text, bad=bad)


def intro(words: LibraryWords) -> str:
    """Render the title of the tab."""
    return render(TEMPLATE, "intro", title=words.title, text=words.intro)


def quiet(text: str) -> str:
    """Render a hint."""
    return render(TEMPLATE, "quiet", text=text)


def _kinds(entry: LibraryEntry, words: LibraryWords) -> list[str]:
    spec = entry.passport.spec
    kinds = [words.kind_prompts] if spec.layers else []
    if delta := spec.delta:
        kinds += [words.kind_biases] if delta.bias else []
        kinds += [words.kind_scales] if delta.scale else []
        kinds += [words.kind_norms] if delta.norms else []
        kinds += [words.kind_low_rank.format(rank=delta.rank)] if delta.rank else []
    return kinds + ([words.kind_pictures] if spec.visual else [])


def _strip(entry: LibraryEntry) -> list[str]:
    """Give the height in percent of each layer's bar, the widest gate 100; [] without gates."""
    try:
        tanh = entry.passport.spec.gate == "tanh"
        means = gates_of_file(entry.path, entry.stamp, tanh=tanh)
    except CheckpointError:
        return []
    top = max(means, default=0.0)
    return [f"{100 * mean / top if top else 0:.0f}" for mean in means]


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.0f} kB"
