"""HTML and Markdown for the page: whatever comes from outside is shown as the text it is.

The HTML lies in `templates/`, as macros that escape every value by themselves. The chat renders
what visitors and models write as Markdown with code and LaTeX; it must not render HTML that
somebody typed, load a picture from another host, or read "$5 and $10" as a formula.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from demo.adapter.passport import AdapterCard
from demo.chat.conversation import ReplyStats
from demo.chat.kept import ChatSummary
from demo.runtime import Status
from demo.ui.strings import Strings
from demo.vision.image import thumbnail
from demo.vision.video import Video

ComponentUpdates = dict[Any, Any]  # what an event changes: {component: its new value}
TEMPLATES = Path(__file__).with_name("templates")
SHORT_LIST = 12  # choices that are read, not searched; a field to type in opens keyboards
FRAME = 240  # pixels of a video's frame in its strip, which shows it smaller


def render(template: str, macro: str, **values: Any) -> str:
    """Fill in one macro of a file in `templates/`; every value but `Markup` is escaped.

    Raises:
        jinja2.UndefinedError: the macro uses a value that it was not given.
    """
    return str(getattr(_environment().get_template(template).module, macro)(**values))


class Indented(Extension):
    """Read line breaks in a template as JSX does, so that it can be indented.

    Between words a line break is one space, beside a tag or a value it is nothing.
    """

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            if token.type == "data":
                text = re.sub(r"(?<=[^>\s])\s*\n\s*(?=[^<\s])", " ", token.value)
                token = Token(token.lineno, "data", re.sub(r"\s*\n\s*", "", text))
            yield token


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        extensions=[Indented],
    )


def header(strings: Strings) -> str:
    """Render name and tagline."""
    return render(
        "page.html",
        "header",
        title=strings.title,
        tagline=strings.tagline,
        chats=strings.chats_toggle,
    )


def header_links(strings: Strings) -> str:
    """Render the button of the API page and the switch between light and dark."""
    return render(
        "page.html",
        "header_links",
        api=strings.api,
        api_hint=strings.api_hint,
        theme_hint=strings.theme_hint,
        language=strings.language,
        language_switch=strings.language_switch,
        picture=strings.picture_alt,
        refused=(strings.refused_media, strings.refused_kind),
        names=json.dumps(strings.names, ensure_ascii=False),
    )


def key_list(strings: Strings) -> str:
    """Render which keys do what; hidden until it is asked for."""
    return render(
        "page.html", "key_list", title=strings.keys, keys=strings.keys_list, close=strings.dismiss
    )


def status_pill(status: Status, strings: Strings) -> str:
    """Render one line that says whether the model answers, and which model it is."""
    word = {"ready": strings.ready, "failed": strings.failed}.get(status.state)
    word = word or strings.said(status.message)
    facts = strings.status_facts if status.threads != 1 else strings.status_facts_one
    facts = facts.format(bits=status.bits, threads=status.threads)
    if status.base:
        facts = f"{status.base} · {facts}"
    hint = strings.status_hint.format(
        clip=status.clip or "–", device=status.device, memory=f"{status.memory_mb:,.0f}"
    )
    share = status.progress if status.state not in ("ready", "failed") else None
    return render(
        "page.html",
        "status_pill",
        state=status.state,
        word=word,
        facts=facts,
        hint=hint,
        progress="" if share is None else f"{share:.0%}",
        width=f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}",
    )


def failed_panel(status: Status, strings: Strings) -> str:
    """Render why there is no model, to be shown for as long as there is none."""
    message = strings.said(status.message)
    return render("page.html", "failed_panel", title=strings.failed_title, message=message)


def notice(text: str) -> str:
    """Render a sentence that stays above the message box until the next action."""
    return render("page.html", "notice", text=text)


def muted(text: str) -> str:
    """Render one quiet line."""
    return render("page.html", "muted", text=text)


def panel_title(text: str) -> str:
    """Render the title of the panel of settings."""
    return render("page.html", "panel_title", text=text)


def waiting_line(text: str) -> str:
    """Render what a reply waits for, before its first word."""
    return render("chat.html", "waiting_line", text=text)


def doubt_note(strings: Strings) -> str:
    """Say that the picture is unlike those the vision tower learned from, on a line of its own."""
    return render("chat.html", "doubt_note", text=strings.unfamiliar)


RECALLED = 80  # characters of a taught question in a reply's footer


@dataclass(frozen=True)
class Versions:
    """Which of the versions of turn `turn` is shown, from 1, and how many there are."""

    turn: int = 0
    at: int = 1
    count: int = 1


@dataclass(frozen=True)
class BaseAnswer:
    """What the base alone has said to a turn so far; `blind` if the turn was about a picture."""

    text: str
    blind: bool = False


def unanswered(strings: Strings, versions: Versions, *, last: bool) -> str:
    """Say that a question has no reply, of the `last` one how to get it; lead to its versions."""
    text = strings.unanswered if last else strings.never_answered
    return render("chat.html", "unanswered", text=text, versions=versions, words=strings)


def reply_footer(
    stats: ReplyStats,
    strings: Strings,
    *,
    corrected: bool = False,
    unfamiliar: bool = False,
    versions: Versions = Versions(),
    last: bool = False,
    note: str = "",
    base: BaseAnswer | None = None,
) -> str:
    """Say who answered, what was read, and how fast; above it a doubt about the picture.

    Args:
        stats: of the reply.
        strings: the words of the page.
        corrected: whether it is the visitor's own by now.
        unfamiliar: whether there is a doubt about the picture.
        versions: which of the turn's versions this is.
        last: whether it is the last reply, which may be continued.
        note: what is to be known of all replies, said once.
        base: what the base alone says to the question, if it was asked.
    """
    stopped = {
        "end": "",
        "length": strings.stopped_length.format(count=stats.reply_tokens),
        "cancelled": strings.stopped_cancelled,
        "deadline": strings.stopped_deadline,
        "repeated": strings.stopped_repeated,
    }[stats.stopped]
    cut = stats.stopped in ("length", "cancelled", "deadline") and last and not corrected
    tokens = strings.tokens.format(prompt=stats.prompt_tokens, reply=stats.reply_tokens)
    speed = strings.speed.format(speed=f"{stats.tokens_per_s:.0f}")
    said = stats.recalled
    said = said if len(said) <= RECALLED else said[: RECALLED - 1].rstrip() + "…"
    from_taught, read_as = strings.recalled, strings.read_as
    recalled = from_taught.format(question=said) if said else ""
    reading = read_as.format(question=stats.read_as) if stats.read_as else ""
    facts = [
        (recalled, strings.recalled_hint, False),
        (reading, strings.read_as_hint, True),
        (_used(stats, strings), "", not stats.image),
        (tokens, strings.tokens_hint, True),
        (strings.first_token.format(seconds=f"{stats.first_token_s:.2f}"), "", True),
        (speed if stats.reply_tokens > 1 else "", "", False),  # one token has none
        (stopped, "", False),
        (strings.corrected if corrected else "", "", False),
    ]
    return render(
        "chat.html",
        "reply_footer",
        adapter=strings.plain_base if stats.adapter == "none" else stats.adapter,
        facts=[fact for fact in facts if fact[0]],
        doubt=strings.unfamiliar if unfamiliar else "",
        versions=versions,
        go_on=strings.go_on if cut else "",
        ask_base=strings.ask_base if last and stats.adapter != "none" and base is None else "",
        base=base.text if base else "",
        base_title=strings.base_says_blind if base and base.blind else strings.base_says,
        note=note,
        words=strings,
    )


def _used(stats: ReplyStats, strings: Strings) -> str:
    if stats.frames:
        words = strings.frame_used if stats.frames == 1 else strings.frames_used
        return words.format(count=stats.frames)
    return strings.picture_used if stats.image else strings.no_picture


def inlined(webp: bytes) -> str:
    """Make of a WebP file an address that holds it whole, so that no file has to be served."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def video_strip(video: Video, strings: Strings) -> str:
    """Render the frames of a video that the model sees, each with its time."""

    def seconds(number: str) -> str:
        return strings.seconds.format(number=number)

    frames = []
    for frame, second in zip(video.frames, video.seconds, strict=True):
        time = seconds(f"{second:.1f}")
        frames.append(
            (inlined(thumbnail(frame, FRAME)), time, strings.frame_alt.format(second=time))
        )
    words = strings.video_frame if len(frames) == 1 else strings.video_frames
    words = strings.video_cut if video.cut else words
    length = f"{video.length:.0f}" if video.length >= 10 else f"{round(video.length, 1):g}"
    caption = words.format(length=seconds(length), count=len(frames))
    return render("chat.html", "video_strip", frames=frames, caption=caption)


def picture_chip(webp: bytes, strings: Strings, *, video: bool = False, sees: str = "") -> str:
    """Render the picture or video that every reply sees.

    Args:
        webp: its thumbnail.
        strings: the words of the page.
        video: whether it is a video.
        sees: what the vision tower was taught with, "" when nobody says.
    """
    return render(
        "chat.html",
        "picture_chip",
        source=inlined(webp),
        title=strings.video_in_use if video else strings.picture_in_use,
        more=strings.picture_in_use_more,
        taught=strings.taught_with.format(sees=strings.said(sees)) if sees else "",
    )


def adapter_choices(cards: tuple[AdapterCard, ...], strings: Strings) -> list[tuple[str, str]]:
    """Give what the adapter picker offers, as (label, value)."""
    fixed = [(strings.adapter_auto, "auto"), (strings.adapter_none, "none")]
    return fixed + [(card["name"], card["name"]) for card in cards]


def adapter_picker(choices: Sequence[tuple[str, str]], chosen: str) -> gr.Dropdown:
    """Give the adapter picker these choices; so many that nobody reads them all are searched."""
    return gr.Dropdown(list(choices), value=chosen, filterable=len(choices) > SHORT_LIST)


def chat_list(
    chats: Sequence[ChatSummary],
    strings: Strings,
    *,
    count: int,
    current: str,
    begun: bool,
    days: int,
    searched: bool,
) -> str:
    """Render a visitor's chats.

    Args:
        chats: those that are shown.
        strings: the words of the page.
        count: how many there are.
        current: the id of the chat on the page, "" for one that is not kept.
        begun: whether anything was said in it.
        days: how long chats are kept, 0 where they are not.
        searched: whether only those that hold some words are shown.
    """
    more = ""
    if searched and not chats:
        more = strings.chats_none_found
    elif not searched and count > len(chats):
        more = strings.chats_more.format(count=f"{count - len(chats):,}")
    return render(
        "chat.html",
        "chat_list",
        chats=[(c.id, c.title, int(c.changed), c.pictures) for c in chats],
        current=current,
        begun="1" if begun else "",
        note=strings.chats_note.format(days=days) if days else strings.chats_off,
        more=more,
        words=strings,
    )


def adapter_note(choice: str, cards: tuple[AdapterCard, ...], strings: Strings) -> str:
    """Render what the chosen adapter is for."""
    return muted(adapter_sentence(choice, cards, strings))


def adapter_sentence(choice: str, cards: tuple[AdapterCard, ...], strings: Strings) -> str:
    """Say what the chosen adapter is for; nothing of a name that is not in the folder."""
    if choice == "auto":
        return strings.adapter_auto_more
    if choice == "none":
        return strings.adapter_none_more
    for card in cards:
        if card["name"] == choice:
            image = "image" in card["modalities"]
            return strings.adapter_facts.format(
                description=strings.said(card["description"]),
                parameters=f"{card['parameters']:,}",
                modalities=strings.modality_image if image else strings.modality_text,
            )
    return ""


# Invisible and without width. After `<` it keeps Markdown from seeing a tag, between `!` and `[`
# from seeing a picture, before `mermaid` a diagram; around `$x$` it makes a formula. One that was
# typed stands twice. So `from_markdown` finds back every byte, as assets/studio.js does for copies.
GUARD = "\u2060"

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PICTURE = re.compile(r"!(?=\[)")
_MERMAID = re.compile(r"^(\s*(?:`{3,}|~{3,})[ \t]*)(?=mermaid\b)", re.MULTILINE)
_CODE = re.compile(r"(```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`)", re.DOTALL)
# Pandoc's rule: no space inside the dollars, no digit or letter right outside them. What begins
# with a brace is a shell's, and what stands beside a slash or a caret is an expression's end.
_DOLLARS = re.compile(r"(?<![\\$\w^/])(\$(?![\s${])(?:(?:[^$\n\\]|\\.)+?)(?<!\s)\$)(?![\w${/])")

LATEX: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": r"\[", "right": r"\]", "display": True},
    {"left": r"\(", "right": r"\)", "display": False},
    {"left": GUARD + "$", "right": "$" + GUARD, "display": False},
]


def to_markdown(text: str) -> str:
    """Make Markdown for the chat: tags and remote pictures as typed, `$x$` as a formula."""
    text = printable(text).replace(GUARD, 2 * GUARD)
    # Diagrams would need scripts and fail half streamed.
    text = _MERMAID.sub(r"\1" + GUARD, text)
    parts = _CODE.split(text)
    parts[::2] = [_DOLLARS.sub(GUARD + r"\1" + GUARD, part) for part in parts[::2]]
    return _PICTURE.sub("!" + GUARD, _TAG.sub("<" + GUARD, "".join(parts)))


def from_markdown(text: str) -> str:
    """Give back, byte for byte, the text of which `to_markdown` made what the edit box sends."""
    return re.sub(f"{GUARD}({GUARD}?)", r"\1", text)


def printable(text: str) -> str:
    """Replace halves of characters (lone surrogates), which no reply can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")
