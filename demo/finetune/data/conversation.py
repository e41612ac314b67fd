"""Conversations to teach, as text, and the turns of data sets that they are made of.

Neither torch nor tokens are needed here, so that a page can show what is taught. A data set for
other programs writes `<image>` where a picture goes, and `{{name}}` where somebody has still to put
a name: `Cleaner` takes these out or refuses them, and neither is ever taught as text.

Known are OpenAI's and TRL's `role` and `content`, ShareGPT's and LLaVA's `from` and `value`,
objects such as `{"human": "…", "assistant": "…"}`, and contents in parts, of which one may be a
picture.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, takewhile
from typing import Any, Literal

from demo.errors import DataError
from demo.finetune.data.roles import ROLES, SPEAKERS, role_of, with_roles
from demo.finetune.data.table import YES, excerpt, yes_or_no

Split = Literal["train", "test"]
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "learn"), "train"),
    **dict.fromkeys(("test", "testing", "validation", "valid", "val", "dev", "eval"), "test"),
    **dict.fromkeys(("heldout", "holdout"), "test"),
}
# Control characters but tab and line feed; marks that say nothing; half of what pastes bring.
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff]")
IMAGE = re.compile(
    r"[ \t]{0,8}(?<!`)(?:<(?:image|picture|photo)(?:[ _]?\d+|_placeholder)?>|<ImageHere>"
    r"|<__media__>"
    r"|<\|(?:image|vision_start|image_pad|vision_end)(?:_?\d+)?\|>)(?!`)[ \t]{0,8}\n?",
    re.IGNORECASE,
)
SOUND = re.compile(
    r"(?:<(audio|video|speech|sound)(?:[ _]?\d+)?>|<\|(audio|video)(?:_pad|_?\d+)?\|>)",
    re.IGNORECASE,
)
# What other programs put at the end of a text, for models with such words.
ENDS = re.compile(
    r"(?:\s*(?:<\|(?:endoftext|im_end|eot_id|end|end_of_text)\|>|</s>|<(?:end_of_turn|eos)>))+\s*$"
)
# How models of functions write what they call, or what they may.
CALL = re.compile(
    r"(?<!`)<(?:start_function_(?:call|declaration|response)|tool_call|functioncall)>(?!`)"
    r"|\[TOOL_CALLS\]|<\|tool_call\|>"
)
HTML = re.compile(
    r"<(?:br|p|div|span|li|ul|strong|b|a href=[^<>]{1,200})\s*/?>|&(?:nbsp|#\d{2,6});", re.I
)
GAP = re.compile(r"\{\{\s*[^\W\d][\w -]{0,40}\}\}")
CODE = re.compile(r"```|</|\{%|`[^`\n]*\{\{")
CONTENTS = ("content", "value", "text", "message", "utterance")
PICTURES = ("image", "images", "picture", "image_url")
CALLS = ("tool_calls", "function_call", "tool_call_id")
# Marks that say whether a turn is learned, and those that say whether it is not.
LEARNED = ("weight", "lossweight", "train", "trainable", "training", "loss", "learn", "lossmask")
MASKED = ("masked", "ignore", "ignored")
TEXT_PARTS = ("text", "input_text", "output_text", None)
MAX_TURNS = 64
EXPECTED = 'Expected is [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}].'


def normalise_name(name: str) -> str:
    """Bring a name into a form to compare: without case, spaces, "_" and "-"."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def is_split(value: str) -> bool:
    """Tell whether a value names the part to learn or the part to hold out."""
    return normalise_name(value) in SPLIT_NAMES


@dataclass(frozen=True)
class Exchange:
    """One question and its reply; `learn` is False where the reply is only context.

    Of a plain text, which nobody asks for, `reply` holds the text and `question` nothing.
    """

    question: str
    reply: str
    learn: bool = True
    plain: bool = False


@dataclass(frozen=True)
class TrainingConversation:
    """What one row of a table teaches.

    Attributes:
        exchanges: its turns, at least one of them to be learned.
        system: what stands before them, None for what the model's template has.
        picture: the picture's name as the row spells it.
        split: the part that it belongs to, None while that is open.
        repairs: what was made fit, in words.

    Raises:
        ValueError: nothing is to be learned, or a question or a reply is empty.
    """

    exchanges: tuple[Exchange, ...]
    system: str | None = None
    picture: str | None = None
    split: Split | None = None
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(exchange.learn for exchange in self.exchanges):
            raise ValueError("a conversation without anything to learn")
        if not all((turn.question or turn.plain) and turn.reply for turn in self.exchanges):
            raise ValueError("a question or a reply is empty")


class Cleaner:
    """Clean the texts of one row and remember, in words, what was changed.

    Attributes:
        stand_ins: how often the texts so far pointed to a picture.
    """

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}
        self.stand_ins = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed, each kind once."""
        return tuple(self._notes)

    def note(self, what: str) -> None:
        """Record a change that was made elsewhere."""
        self._notes[what] = None

    def text(self, text: str, what: str, *, learned: bool = False) -> str:
        """Trim `text`, make its line ends plain and remove invisible characters and stand-ins.

        Args:
            text: as the table has it.
            what: what the text is, for the record: "question", "turn 3".
            learned: it is a reply, in which no picture can stand.

        Raises:
            DataError: it has a gap that nobody filled, or needs a sound or a film.
        """
        if called := CALL.search(text):
            raise DataError(
                f"{_sentence(what)} uses a tool (“{called[0]}”), and the use of tools cannot be "
                "taught. Please leave such rows out."
            )
        plain = text.replace("\r\n", "\n").replace("\r", "\n")
        if plain != text:
            self.note(f"{what}: line ends of Windows or old Macs replaced")
        visible = INVISIBLE.sub("", plain)
        if visible != plain:
            self.note(f"{what}: invisible characters removed")
        bare = visible.strip()
        if "<s>" not in bare[1:]:  # else it strikes words out
            bare = ENDS.sub("", bare.removeprefix("<s>"))
        if bare != visible.strip():
            self.note(f"{what}: the marks of another model around it removed")
        if HTML.search(bare) and not any(mark in bare for mark in ("`", "{%", "{{")):
            self.note(f"{what}: HTML is taught as it stands")
        trimmed = self._without_stand_ins(bare.strip(), what, learned)
        if visible.strip() != visible and trimmed:
            self.note(f"{what}: spaces at its ends removed")
        # One letter, one spelling: a decomposed é is three tokens that the model has seldom met.
        composed = unicodedata.normalize("NFC", trimmed)
        if composed != trimmed:
            self.note(f"{what}: letters and their accents joined")
        _refuse_gaps(self, composed, what)
        return composed

    def _without_stand_ins(self, text: str, what: str, learned: bool) -> str:
        sound = SOUND.search(text)
        if sound and not re.search(f"</{sound[1]}", text) and "`" not in text:
            at_edge = not text[: sound.start()].strip() or not text[sound.end() :].strip()
            if at_edge or re.search(r"(?:^|\n)\s*$", text[: sound.start()]):
                raise DataError(
                    f"{_sentence(what)} needs a sound or a film where “{sound[0]}” stands, and "
                    "only pictures can be shown. Please leave such rows out."
                )
            self.note(f"{what}: “{sound[0]}” is taught as text")
        found = list(IMAGE.finditer(text))
        if not found or re.search(r"</(?:image|picture)", text, re.IGNORECASE):
            return text
        if learned:
            raise DataError(
                f"{_sentence(what)} has “{found[0][0].strip()}” in it, where a picture would "
                "stand, and replies are text alone. Please leave such rows out."
            )
        self.stand_ins += len(found)
        self.note(f"{what}: “{found[0][0].strip()}” taken out, the picture stands there")
        return IMAGE.sub(_gap_between, text).strip()


def _gap_between(found: re.Match[str]) -> str:
    """Keep words apart that a stand-in stood between."""
    if "\n" in found[0]:
        return "\n"
    return " " if found[0] != found[0].strip() else ""


def _refuse_gaps(cleaner: Cleaner, text: str, what: str) -> None:
    gap = GAP.search(text)
    if gap is None:
        return
    if CODE.search(text):
        cleaner.note(f"{what}: “{excerpt(gap[0])}” is taught as text, as in a template")
        return
    raise DataError(
        f"{_sentence(what)} has the gap “{excerpt(gap[0])}”, which was never filled. Please put "
        "what belongs there in its place."
    )


def _sentence(what: str) -> str:
    """Begin a sentence with what a text is."""
    return what.capitalize() if what[-1].isdigit() else f"The {what}"


@dataclass(frozen=True)
class Spoken:
    """One turn: who speaks, what is said, whether it is learned, and pictures it brings along."""

    role: str
    text: str
    learn: bool
    pictures: tuple[str, ...]


def is_turn(value: Any) -> bool:
    """Tell whether a value of JSON is a turn rather than a row."""
    if not isinstance(value, dict):
        return False
    speaker = next((value[key] for key in SPEAKERS if key in value), None)
    return isinstance(speaker, str) and any(key in value for key in CONTENTS)


def is_turns(value: Any) -> bool:
    """Tell whether a value of JSON is a list of turns."""
    return isinstance(value, list) and bool(value) and all(map(is_turn, value))


def read_turns(turns: Any, cleaner: Cleaner) -> list[Spoken]:
    """Read each turn of a list.

    Args:
        turns: a value of JSON.
        cleaner: cleans their texts, and hears what was changed or left out.

    Raises:
        DataError: it is no list of turns, or one of them cannot be taught.
    """
    if not isinstance(turns, list) or not turns:
        raise DataError(f"The conversation is no list of turns. {EXPECTED}")
    flat = [single for turn in _with_speakers(turns, cleaner) for single in _single_turns(turn)]
    if len(flat) > MAX_TURNS:
        raise DataError(
            f"The conversation has {len(flat):,} turns, and {MAX_TURNS} is the most we take. "
            "Please cut it into several rows."
        )
    flat = with_roles(flat, cleaner.note)
    return [_turn(index, turn, cleaner) for index, turn in enumerate(flat, 1)]


def pair_up(turns: Sequence[Spoken], cleaner: Cleaner) -> tuple[str | None, tuple[Exchange, ...]]:
    """Make exchanges of turns; give the system prompt, None without one, and the exchanges.

    A last question without a reply is left out.

    Raises:
        DataError: user and assistant do not take turns, or no reply is to be learned.
    """
    before = list(takewhile(lambda turn: turn.role == "system", turns))
    spoken = list(turns[len(before) :])
    if len(spoken) % 2 and spoken[-1].role == "user":
        spoken.pop()
        cleaner.note("the last question had no reply and was left out")
    for index, turn in enumerate(spoken):
        wanted = ("user", "assistant")[index % 2]
        if turn.role != wanted:
            raise DataError(
                f"Turn {len(before) + index + 1} is from the {turn.role} and should be the "
                f"{wanted}'s. User and assistant must take turns, the user first; system turns "
                "come before."
            )
    exchanges = tuple(
        Exchange(question.text, reply.text, reply.learn)
        for question, reply in zip(spoken[::2], spoken[1::2], strict=True)
    )
    if not any(exchange.learn for exchange in exchanges):
        raise DataError("The conversation has no reply of the assistant to learn.")
    return "\n\n".join(turn.text for turn in before) or None, exchanges


def picture_names(value: Any) -> list[str]:
    """Give the names of pictures in a value: a name, a list of them, or objects that hold one."""
    if isinstance(value, list):
        return [name for item in value for name in picture_names(item)]
    if isinstance(value, dict):
        keys = ("path", "file_name", "filename", "url", "image", "image_url", "src")
        found = [name for key in keys for name in picture_names(value.get(key))]
        return found[:1]
    if isinstance(value, str | int) and not isinstance(value, bool):
        return [str(value).strip()] if str(value).strip() else []
    return []


def _with_speakers(turns: list[Any], cleaner: Cleaner) -> list[Any]:
    """Let user and assistant take turns where a conversation is a list of texts (DailyDialog)."""
    if len(turns) < 2 or not all(isinstance(turn, str) for turn in turns):
        return turns
    cleaner.note("no turn says who speaks: the user begins, and the assistant replies")
    spoken = zip(cycle(("user", "assistant")), turns, strict=False)
    return [{"role": role, "content": text} for role, text in spoken]


def _single_turns(turn: Any) -> list[Any]:
    """Cut an object such as `{"human": "…", "assistant": "…"}` into its turns."""
    if isinstance(turn, dict) and turn and all(str(key).lower() in ROLES for key in turn):
        return [{"role": key, "content": value} for key, value in turn.items()]
    return [turn]


def _turn(index: int, turn: Any, cleaner: Cleaner) -> Spoken:
    if not isinstance(turn, dict):
        raise DataError(f"Turn {index} has no role and no content. {EXPECTED}")
    speaker = next((turn[key] for key in SPEAKERS if key in turn), None)
    content = next((turn[key] for key in CONTENTS if key in turn), None)
    role = role_of(speaker)
    if speaker is None:
        raise DataError(f"Turn {index} does not say who speaks. {EXPECTED}")
    if role is None:
        raise DataError(
            f"Turn {index} is from “{excerpt(str(speaker))}”. Known are system, user and "
            "assistant; turns of tools cannot be taught."
        )
    if isinstance(content, int | float):
        cleaner.note(f"turn {index}: a number, read as text")
        content = json.dumps(content)
    pictures = [name for key in PICTURES for name in picture_names(turn.get(key))]
    text = _content(index, content, pictures, cleaner)
    learn = _is_learned(index, turn, cleaner)
    text = cleaner.text(text, f"turn {index}", learned=role == "assistant")
    _name_the_rest(index, turn, cleaner)
    if not text and role != "system":
        if not any(key in turn for key in CONTENTS):
            raise DataError(f"Turn {index} has its text under no name we know. {EXPECTED}")
        raise DataError(f"Turn {index}, the {role}'s, is empty.")
    return Spoken(role, text, learn, tuple(pictures))


def _content(index: int, content: Any, pictures: list[str], cleaner: Cleaner) -> str:
    """Join a turn's text, which may come in parts; add the pictures among them to `pictures`."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _not_text(index, "something else than text")
    said = []
    for part in content:
        if isinstance(part, str):
            said.append(part)
        elif not isinstance(part, dict):
            raise _not_text(index, "something else than text")
        elif part.get("type", "text") in TEXT_PARTS and (text := _part_text(part)) is not None:
            said.append(text)
        elif "image" in str(part.get("type")):
            keys = (*PICTURES, "path", "url", "value")
            named = [name for key in keys for name in picture_names(part.get(key))]
            pictures += named[:1]
            cleaner.stand_ins += not named
        else:
            kind = part.get("type")
            known = isinstance(kind, str) and kind.isidentifier() and kind != "text"
            raise _not_text(index, f"a part of kind “{kind}”" if known else None)
    return "".join(said)


def _part_text(part: dict[str, Any]) -> str | None:
    found = (part.get(key) for key in ("text", "value", "content"))
    return next((text for text in found if isinstance(text, str)), None)


def _not_text(index: int, what: str | None) -> DataError:
    return DataError(
        f"Turn {index} holds {what or 'something else than text'}. Only text and pictures can be "
        "taught; for pictures the columns image, question and answer do as well."
    )


def _is_learned(index: int, turn: dict[str, Any], cleaner: Cleaner) -> bool:
    """Read the marks on a turn; one that says no is enough."""
    learned = True
    for key, value in turn.items():
        name = normalise_name(key)
        if name not in (*LEARNED, *MASKED) or value is None or value == "":
            continue
        said = yes_or_no(value)
        if said is None:
            raise DataError(
                f"Turn {index} has the mark “{excerpt(key)}”: “{excerpt(str(value))}”. It may say "
                "true or false, 1 or 0."
            )
        learned &= said if name in LEARNED else not said
        if said and str(value).strip().casefold() not in YES:
            cleaner.note(f"turn {index}: its weight {excerpt(str(value))} counts as 1")
    return learned


def _name_the_rest(index: int, turn: dict[str, Any], cleaner: Cleaner) -> None:
    """Name what a turn holds besides; refuse it where that changes what is said."""
    if any(turn.get(key) for key in CALLS):
        raise DataError(f"Turn {index} calls a tool, which cannot be taught.")
    taken = {next((key for key in keys if key in turn), "") for keys in (SPEAKERS, CONTENTS)}
    for key, value in turn.items():
        marks = normalise_name(key) in (*LEARNED, *MASKED)
        if key not in taken and key not in (*PICTURES, *CALLS) and not marks and value:
            cleaner.note(f"turn {index}: “{excerpt(key)}” is not used")
