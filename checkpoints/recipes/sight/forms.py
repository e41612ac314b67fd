"""Ways to ask what something is, put together from parts: more than anybody would list.

People write "name that", "pls identify", "main subject?", "who or what do you see here". A list of
wordings teaches its lines; parts that meet in every combination teach what they have in common.
Whatever the exam asks (`KEPT`) is left out, however it is spelt.
"""

import random
import re
from collections.abc import Callable

from demo.settings import ROOT

KEPT = ROOT / "demo" / "bench" / "wordings.txt"

POLITE = ("Please", "Pls", "Could you", "Would you", "Can you", "Kindly", "Now", "I want you to")
NAMING = ("name", "identify", "recognise", "label", "classify", "title", "tag", "determine")
OBJECTS = (
    "it", "that", "the object", "the thing", "the subject", "the item", "what is shown",
    "what you see", "what is in it", "the thing shown", "the main object", "this one",
    "this thing", "this object", "what this is", "the one here", "what stands here",
    "the content", "what I sent", "what I photographed",
)  # fmt: skip
TELLING = (
    "tell me", "say", "let me know", "I'd like to know", "I wonder", "explain", "find out",
    "I need to know", "do you see", "do you recognise", "can you see", "can you tell",
    "would you know", "remind me", "just say", "figure out",
)  # fmt: skip
WHAT = (
    "what it is", "what that is", "what is in it", "what you see", "what is here", "what is shown",
    "what can be seen", "what we have", "what is depicted", "what I photographed",
    "what the thing is", "what the subject is", "what the object is", "what I am holding",
    "what is there", "what you recognise", "what this might be", "what appears here",
)  # fmt: skip
SUBJECTS = (
    "subject", "main subject", "main object", "main thing", "central object", "focus", "motif",
    "topic", "theme", "item", "object", "thing in the middle", "most important thing", "content",
)  # fmt: skip
PICTURES = ("picture", "photo", "image", "pic", "photograph", "shot", "snapshot", "upload", "file")
THESE = ("this", "the", "my", "that")
SEEN = (
    "see", "notice", "make out", "recognise", "spot", "find", "detect", "observe", "look at",
)  # fmt: skip
SHOWN = ("shown", "depicted", "seen", "visible", "pictured", "displayed", "portrayed", "captured")
AND_THIS = (
    "And this?", "And that?", "And this one?", "And here?", "What about this one?",
    "How about this?", "And now?", "Now this.", "This one?", "And what is this?", "Then this?",
    "Next one: what is it?", "And what do you see here?", "Here is another. What is it?",
    "What about that?", "Same question for this one.", "And in this picture?", "Now what is it?",
)  # fmt: skip


def _picture(chance: random.Random) -> str:
    return f"{chance.choice(THESE)} {chance.choice(PICTURES)}"


def _named(chance: random.Random) -> str:
    said = f"{chance.choice(NAMING)} {chance.choice(OBJECTS)}"
    if chance.random() < 0.3:
        said += f" in {_picture(chance)}"
    if chance.random() < 0.4:
        polite = chance.choice(POLITE)
        return f"{polite} {said}{'?' if polite.endswith('you') else '.'}"
    return f"{said.capitalize()}."


def _told(chance: random.Random) -> str:
    said = f"{chance.choice(TELLING)} {chance.choice(WHAT)}"
    if chance.random() < 0.35:
        said += f" in {_picture(chance)}"
    return f"{said[0].upper()}{said[1:]}{chance.choice('.?')}"


def _subject(chance: random.Random) -> str:
    what = chance.choice(SUBJECTS)
    place = chance.choice(("", " here", f" of {_picture(chance)}", f" in {_picture(chance)}"))
    form = chance.choice((
        "What is the {}{}?", "What's the {}{}?", "The {}{}?", "Name the {}{}.", "{}{}?",
        "Tell me the {}{}.", "What would you say is the {}{}?", "Which is the {}{}?",
    ))  # fmt: skip
    said = form.format(what, place)
    return said[0].upper() + said[1:]


def _who_or_what(chance: random.Random) -> str:
    who = chance.choice(("who or what", "what or who", "who/what", "what/who"))
    ends = ("is it", "is that", "do you see", "is here", "is shown", "am I looking at", "is there")
    end = chance.choice((*ends, f"is in {_picture(chance)}", f"does {_picture(chance)} show"))
    said = f"{who} {end}"
    if chance.random() < 0.3:
        asked = ("it is", "that is", "this is", "is shown", f"is in {_picture(chance)}")
        said = f"tell me {who} {chance.choice(asked)}"
    return said[0].upper() + said[1:] + chance.choice(("?", ""))


def _seen(chance: random.Random) -> str:
    place = chance.choice(("", " here", " there", f" in {_picture(chance)}", " in it"))
    form = chance.choice((
        "What do you {}{}?", "What can you {}{}?", "What did you {}{}?", "Anything you {}{}?",
        "What could one {}{}?", "What would you {}{}?", "What should I {}{}?",
    ))  # fmt: skip
    return form.format(chance.choice(SEEN), place)


def _shown(chance: random.Random) -> str:
    what = chance.choice(("What", "What thing", "Which object", "Which thing", "What exactly"))
    form = chance.choice((
        "{0} is {1} in {2}?", "{0} is {1} on {2}?", "{0} is {1} here?", "{0} is being {1}?",
        "{0} has been {1} in {2}?", "{0} is {1} there?",
    ))  # fmt: skip
    return form.format(what, chance.choice(SHOWN), _picture(chance))


def _terse(chance: random.Random) -> str:
    return chance.choice((
        "Object?", "Name?", "What?", "What is?", "This?", "It is?", "Its name?", "Identify.",
        "ID?", "Label?", "What is the name?", "Category and name?", "Thing?", "Picture of?",
        "Name the picture.", "Recognise.", "Identification please", "What now?", "Hm, what is it?",
        "That is?", "So?", "What's here?", "What's there?", "What's it?", "Wat is dis?",
        "wots this", "wats it", "what dis", "wots here", "wats that there", "what it is",
        "what is dat thing", "whatsit?",
    ))  # fmt: skip


FORMS: tuple[Callable[[random.Random], str], ...] = (
    _named, _told, _subject, _who_or_what, _seen, _shown, _terse,
)  # fmt: skip


def plain_words(text: str) -> str:
    """Return the words alone, in lower case, as wordings are compared."""
    return " ".join(re.findall(r"[a-z]+", text.lower().replace("'", "")))


def kept_wordings() -> frozenset[str]:
    """Return what the exam asks, as plain words."""
    return frozenset(map(plain_words, KEPT.read_text("utf-8").splitlines()))


_KEPT = kept_wordings()


def asked_freely(chance: random.Random) -> str:
    """Return a way to ask what it is that is none of the exam's."""
    while True:
        text = chance.choice(FORMS)(chance)
        if plain_words(text) not in _KEPT:
            return text
