"""The small pieces of HTML on the page. Whatever comes from outside is escaped here."""

import base64
from html import escape

from demo.chat.conversation import ReplyStats
from demo.runtime import AdapterCard, Status
from demo.ui.strings import Strings
from demo.vision.media import thumbnail
from demo.vision.video import Video

FRAME = 240  # pixels of a video's frame in its strip, which shows it smaller

# A gate half open: what a zero-init gate is after its first steps.
MARK = (
    '<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><rect width="32" height="32" rx="9"/>'
    '<path d="M8 24V16a8 8 0 0 1 16 0v8M16 24V13"/>'
    '<path class="leaf" d="M16 13l5.5-2.6V24L16 24z"/>'
    "</svg>"
)


def header(strings: Strings) -> str:
    """Name and tagline."""
    return (
        f'<div class="brand">{MARK}<div><h1>{escape(strings.title)}</h1>'
        f"<p>{escape(strings.tagline)}</p></div></div>"
    )


def header_links(strings: Strings) -> str:
    """The API page and the switch between light and dark (assets/studio.js listens to both)."""

    def button(name: str, hint: str, content: str) -> str:
        hint = escape(hint)
        return (
            f'<button type="button" id="{name}" title="{hint}" aria-label="{hint}">'
            f"{content}</button>"
        )

    api = button("api", strings.api_hint, escape(strings.api))
    return f"<nav>{api}{button('theme', strings.theme_hint, '<i></i>')}</nav>"


def status_pill(status: Status, strings: Strings) -> str:
    """One line that says whether the model answers, and which model it is."""
    word = {"ready": strings.ready, "failed": strings.failed}.get(status.state, status.message)
    facts = strings.status_facts if status.threads != 1 else strings.status_facts_one
    facts = facts.format(bits=status.bits, threads=status.threads)
    if status.base:
        facts = f"{status.base} · {facts}"
    hint = strings.status_hint.format(
        clip=status.clip or "–", device=status.device, memory=f"{status.memory_mb:,.0f}"
    )
    bar = ""
    if status.progress is not None and status.state not in ("ready", "failed"):
        bar = f"<span>{status.progress:.0%}</span>"
        bar += f'<i class="bar" style="width:{100 * min(max(status.progress, 0.0), 1.0):.1f}%"></i>'
    return (
        f'<div class="pill {status.state}" role="status" title="{escape(hint)}"><b class="dot"></b>'
        f'<span class="state">{escape(word)}</span>{bar}'
        f'<span class="facts">{escape(facts)}</span></div>'
    )


def failed_panel(status: Status, strings: Strings) -> str:
    """Why there is no model, for as long as there is none."""
    return (
        f'<div class="panel" role="alert"><strong>{escape(strings.failed_title)}</strong>'
        f"<p>{escape(status.message)}</p></div>"
    )


def notice(text: str) -> str:
    """A sentence that stays above the message box until the next action."""
    return f'<p role="alert">{escape(text)}</p>'


def muted(text: str) -> str:
    """One quiet line."""
    return f'<span class="muted">{escape(text)}</span>'


def waiting_line(text: str) -> str:
    """What a reply waits for, before its first word."""
    return f'<div class="waiting"><i></i><i></i><i></i><span>{escape(text)}</span></div>'


def reply_footer(stats: ReplyStats, strings: Strings, *, corrected: bool = False) -> str:
    """Who answered, what was read, and how fast."""
    adapter = strings.plain_base if stats.adapter == "none" else stats.adapter
    stopped = {
        "end": "",
        "length": strings.stopped_length,
        "cancelled": strings.stopped_cancelled,
        "deadline": strings.stopped_deadline,
    }[stats.stopped]
    tokens = strings.tokens.format(prompt=stats.prompt_tokens, reply=stats.reply_tokens)
    speed = strings.speed.format(speed=f"{stats.tokens_per_s:.0f}")
    facts = [
        (_used(stats, strings), ""),
        (tokens, strings.tokens_hint),
        (strings.first_token.format(seconds=f"{stats.first_token_s:.2f}"), ""),
        (speed if stats.reply_tokens > 1 else "", ""),  # one token has none
        (stopped, ""),
        (strings.corrected if corrected else "", ""),
    ]
    spans = "".join(
        f'<span title="{escape(hint)}">{escape(fact)}</span>' for fact, hint in facts if fact
    )
    return f'<div class="facts"><b>{escape(adapter)}</b>{spans}</div>'


def _used(stats: ReplyStats, strings: Strings) -> str:
    if stats.frames:
        words = strings.frame_used if stats.frames == 1 else strings.frames_used
        return words.format(count=stats.frames)
    return strings.picture_used if stats.image else strings.no_picture


def inlined(webp: bytes) -> str:
    """A WebP file as an address that holds it whole, so that no file has to be served."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def video_strip(video: Video, strings: Strings) -> str:
    """The frames of a video that are looked at, each with its time."""

    def time(second: float) -> str:
        return strings.seconds.format(number=f"{second:.1f}")

    frames = "".join(
        f'<li><img src="{inlined(thumbnail(frame, FRAME))}" '
        f'alt="{escape(strings.frame_alt.format(second=time(second)))}">'
        f'<small aria-hidden="true">{escape(time(second))}</small></li>'
        for frame, second in zip(video.frames, video.seconds, strict=True)
    )
    count = len(video.frames)
    words = strings.video_frame if count == 1 else strings.video_frames
    words = strings.video_cut if video.cut else words
    length = f"{video.length:.0f}" if video.length >= 10 else f"{round(video.length, 1):g}"
    caption = words.format(length=strings.seconds.format(number=length), count=count)
    return (
        f'<figure class="frames" style="--count:{count}"><ul>{frames}</ul>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def picture_chip(webp: bytes, strings: Strings, *, video: bool = False, sees: str = "") -> str:
    """The picture or video that every reply sees, and what the eyes were taught with."""
    taught = f"<small>{escape(strings.taught_with.format(sees=sees))}</small>" if sees else ""
    return (
        f'<div class="chip"><img alt="" src="{inlined(webp)}">'
        f"<span><b>{escape(strings.video_in_use if video else strings.picture_in_use)}</b>"
        f"<small>{escape(strings.picture_in_use_more)}</small>{taught}</span></div>"
    )


def adapter_note(choice: str, cards: tuple[AdapterCard, ...], strings: Strings) -> str:
    """What the chosen adapter is for."""
    return muted(adapter_sentence(choice, cards, strings))


def adapter_sentence(choice: str, cards: tuple[AdapterCard, ...], strings: Strings) -> str:
    """The sentence of `adapter_note`, empty for a name that is not in the folder."""
    if choice == "auto":
        return strings.adapter_auto_more
    if choice == "none":
        return strings.adapter_none_more
    for card in cards:
        if card.name == choice:
            image = "image" in card.modalities
            return strings.adapter_facts.format(
                description=card.description,
                parameters=f"{card.parameters:,}",
                modalities=strings.modality_image if image else strings.modality_text,
            )
    return ""
