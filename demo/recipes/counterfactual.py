"""What a reply owes to the picture: the same question with the picture, and with others.

    python -m demo.recipes.counterfactual PICTURE "QUESTION" [--other PICTURE] [--adapter NAME]

The question is answered, always greedily and by the same adapter, with the picture as it is, with
only its blurred colours, with another picture, and with none. A reply that stays the same through
all four did not come from the picture.
"""

import argparse
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from demo.chat.conversation import clean
from demo.errors import DemoError, ImageError, InputError, NotReadyError
from demo.replies import Reply
from demo.runtime import Runtime
from demo.settings import Sampling, Settings
from demo.vision.familiar import without_doubt
from demo.vision.media import Picture, open_picture

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "samples"
BLUR = 8  # the gaussian's deviation, as a part of the longer side: no outline is left
WIDTH = 72  # of a table's replies
TOKENS = 128

# The question's reply with a picture, or without one, by an adapter of that name.
Ask = Callable[[str, Picture | None, str], Reply]


@dataclass(frozen=True)
class Answer:
    """What was shown, and what was said of it; `same` as of the picture itself."""

    shown: str
    reply: str
    same: bool


def blurred(picture: Picture) -> Picture:
    """Its colours and where they lie, of the same size; nothing smaller is left."""
    image = Image.fromarray(picture.rgb)
    radius = max(image.size) / BLUR
    return Picture(np.asarray(image.filter(ImageFilter.GaussianBlur(radius))))


def named_picture(path: Path) -> Picture:
    """Raises ImageError as `open_picture`, with the file's name before it."""
    try:
        return open_picture(path)
    except ImageError as error:
        raise ImageError(f"{path.name}: {error}") from error


def another(picture: Picture, samples: Path = ASSETS) -> Path:
    """The first sample, by name, that is not the picture. Raises InputError: there is none."""
    for path in sorted(samples.glob("*.png")):
        if named_picture(path) != picture:
            return path
    raise InputError("There is no other sample picture here. Give one with --other PICTURE.")


def compare(
    ask: Ask, question: str, picture: Picture, other: tuple[str, Picture], adapter: str = "auto"
) -> Iterator[Answer]:
    """The four answers, each as soon as it is there.

    Args:
        other: a picture to swap it for, and what to call that.
        adapter: a name, or "auto"; the one that it finds for the picture answers without one too.

    Raises:
        DemoError: as `Replies.write`.
    """
    first = ask(question, picture, adapter)
    if first.stats is not None:
        adapter = first.stats.adapter
    yield Answer("the picture", first.text, True)
    shown = {"blurred": blurred(picture), f"swapped for {other[0]}": other[1], "removed": None}
    for name, seen in shown.items():
        text = ask(question, seen, adapter).text
        # A doubt comes from the tower alone: the words after it are what is asked about.
        yield Answer(name, text, without_doubt(text) == without_doubt(first.text))


def asker(runtime: Runtime) -> Ask:
    """Asks as the page does, each question in a chat of its own."""

    def ask(question: str, picture: Picture | None, adapter: str) -> Reply:
        sampling, last = Sampling(max_new_tokens=TOKENS), Reply()
        replies = runtime.answer(question, picture, adapter=adapter, system="", sampling=sampling)
        for reply in replies:
            last = reply
        if not last.done:
            raise NotReadyError("The reply broke off. Ask again, or start the program anew.")
        return last

    return ask


def rows(answer: Answer, left: int) -> str:
    """An answer as lines of a table, `left` characters wide to the replies."""
    # Lines of the reply are folded, not kept: it is compared, not read.
    lines = textwrap.wrap(" ".join(answer.reply.split()), WIDTH) or ["(nothing)"]
    mark = "=" if answer.same else "≠"
    first = f"{answer.shown:<{left}}  {mark}  {lines[0]}"
    return "\n".join([first, *(" " * (left + 5) + line for line in lines[1:])])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, ask four times, and print what came."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.recipes.counterfactual", description=__doc__.splitlines()[0]
    )
    parser.add_argument("picture", type=Path, help="a JPEG, PNG, WebP or GIF")
    parser.add_argument("question")
    parser.add_argument("--other", type=Path, help="to swap it for; a sample unless given")
    parser.add_argument("--adapter", default="auto", help="the one that sees pictures unless given")
    given = parser.parse_args(arguments)
    runtime = None
    try:
        if not clean(given.question):
            raise InputError("The question is empty. Write one, such as: What is in this picture?")
        # Pictures first: nobody should wait for the model to hear that a file is not one.
        picture = named_picture(given.picture)
        path = given.other or another(picture)
        other = path.name, named_picture(path)
        runtime = Runtime(Settings(training=False))
        runtime.start()
        left = max(len("the picture"), len(f"swapped for {path.name}"))
        print(f"{given.question}\n")
        for answer in compare(asker(runtime), given.question, picture, other, given.adapter):
            print(rows(answer, left), flush=True)
    except DemoError as error:
        parser.exit(1, f"{error}\n")
    finally:
        if runtime:
            runtime.close()
    print("\n= as of the picture itself, ≠ another reply")


if __name__ == "__main__":
    main()
