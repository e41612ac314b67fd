"""What counts as right in `bench sight`: a reply, the lesson it belongs to, what is known."""

import re
from collections.abc import Callable, Mapping

from demo.finetune.lessons import Lesson
from demo.recipes.sight_lessons import Known, shortened

Judge = Callable[[str, Lesson, Known], bool]
LEAD = re.compile(r"^(?:(?:this|it|there) (?:is|may be|might be|looks like) |maybe )?")
ARTICLE = re.compile(r"\b(?:a|an|the) ")


def plain_reply(reply: str) -> str:
    """Lower case, without articles, "this is" and the full stop: "This is a Dog." -> "dog"."""
    text = " ".join(reply.lower().split()).rstrip(".! ")
    return ARTICLE.sub("", LEAD.sub("", text, count=1)).strip()


def names_it(reply: str, lesson: Lesson, known: Known) -> bool:
    """Whether it says one of the exact names; in "a fish, maybe a goldfish" the guess counts."""
    said = plain_reply(reply.lower().split(", maybe ")[-1])
    return said in {plain_reply(name) for name in known.exact}


def same_phrase(reply: str, lesson: Lesson, known: Known) -> bool:
    """Whether it says what was expected, in a sentence or in a word."""
    return plain_reply(reply) == plain_reply(lesson.reply)


def same_broadly(broad: Mapping[str, str]) -> Judge:
    """A judge of replies about the kind: right is any group of the same broad one.

    Args:
        broad: the broad group of each group, as `broad_groups` has them; what is known of a
            picture has to be of one of these groups.
    """
    places = {plain_reply(group): place for group, place in broad.items()}

    def judge(reply: str, lesson: Lesson, known: Known) -> bool:
        return places.get(plain_reply(reply)) == broad[known.group]

    return judge


def same_answer(reply: str, lesson: Lesson, known: Known) -> bool:
    """Whether it ends with the same verdict, however sure: "probably not" is a no."""
    return verdict(reply) is not None and verdict(reply) == verdict(lesson.reply)


def verdict(reply: str) -> bool | None:
    """What a reply like "This is a cat, so no." says to a question of yes or no, if anything."""
    found = re.search(r"\b(yes|no|not)\W*$", reply.lower())
    return None if found is None else found[1] == "yes"


def same_text(reply: str, lesson: Lesson, known: Known) -> bool:
    """Word for word."""
    return reply.strip() == lesson.reply


def holds(reply: str, keys: str) -> bool:
    """Whether the first sentences of a reply have a word that begins like one of "sun|star"."""
    words = "|".join(re.escape(key) for key in keys.split("|"))
    return re.search(rf"\b(?:{words})", shortened(reply).lower()) is not None
