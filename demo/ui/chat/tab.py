"""The chat tab: what is where. What happens on a click is in `handlers.py`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from demo.adapter.passport import AdapterCard
from demo.runtime import Runtime
from demo.settings import Sampling
from demo.ui import html
from demo.ui.html import LATEX
from demo.ui.strings import ExampleCard, Strings
from demo.vision.image import open_picture, thumbnail

# Longer pastes would become a file that no one asked for; a message may hold 8,000 characters
# and the conversation says so itself when there are more.
PASTE_LIMIT = 1_000_000
CARD = 160  # pixels of the picture on an example card


@dataclass(frozen=True)
class ChatView:
    """The components of the tab that handlers read or change."""

    panel: gr.HTML
    chatbot: gr.Chatbot
    notice: gr.Row
    notice_text: gr.HTML
    resume: gr.Button
    go_on: gr.Button  # pressed by the page for "continue" under a reply
    ask_base: gr.Button  # and for "ask the base too"
    dismiss: gr.Button
    picture: gr.Row
    picture_chip: gr.HTML
    remove_picture: gr.Button
    webcam: gr.Image
    box: gr.MultimodalTextbox
    adapter: gr.Dropdown
    adapter_note: gr.HTML
    camera: gr.Button
    settings: gr.Button
    controls: tuple[gr.components.Component, ...]  # system prompt, then the fields of Sampling
    examples: tuple[ExampleCard, ...]


def build_view(runtime: Runtime, strings: Strings, samples: Path) -> ChatView:
    """Lay the tab out inside the current `gr.Blocks`."""
    examples = usable_examples(strings, samples)
    with gr.Column(elem_id="chat"):
        panel = gr.HTML(visible=False, elem_id="failed")
        chatbot = _chatbot(strings, _cards(examples, samples))
        with gr.Column(elem_id="composer"):
            notice = _notice(strings)
            picture = _picture(strings)
            webcam = gr.Image(
                sources=["webcam"],
                visible=False,
                label=strings.camera_label,
                height=280,
                elem_id="webcam",
                webcam_options=gr.WebcamOptions(mirror=False),
            )
            box = _box(strings)
            adapter, note, camera, settings = _tools(
                runtime.library.cards(tower=runtime.tower), strings
            )
    with gr.Sidebar(position="right", open=False, width=340, elem_id="settings"):
        controls = _controls(strings)
    return ChatView(
        panel,
        chatbot,
        *notice,
        *picture,
        webcam=webcam,
        box=box,
        adapter=adapter,
        adapter_note=note,
        camera=camera,
        settings=settings,
        controls=controls,
        examples=examples,
    )


def usable_examples(strings: Strings, samples: Path) -> tuple[ExampleCard, ...]:
    """Give the example cards whose picture is there."""
    return tuple(
        example
        for example in strings.examples
        if example.picture is None or (samples / example.picture).is_file()
    )


def _cards(examples: tuple[ExampleCard, ...], samples: Path) -> list[Any]:
    cards = []  # gradio's own type of them asks for fields that it does not read
    for example in examples:
        icon = {"mime_type": "text"}
        if example.picture:
            # Inlined: a served file could be named as an upload, and uploads are deleted.
            picture = open_picture(samples / example.picture)
            icon = {"url": html.inlined(thumbnail(picture, CARD))}
        cards.append({"text": example.text, "display_text": example.label, "icon": icon})
    return cards


def _chatbot(strings: Strings, cards: list[Any]) -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="conversation",
        label=strings.chat_tab,
        show_label=False,
        container=False,
        height="100%",
        scale=1,
        layout="bubble",
        editable="all",  # a reply is corrected with the pen too
        feedback_options=("Like",),
        latex_delimiters=LATEX,
        buttons=["copy"],
        sanitize_html=True,
        allow_tags=False,
        allow_file_downloads=False,
        group_consecutive_messages=False,  # so that a picture, a text and a footer stay separate
        placeholder=f"## {strings.welcome}\n{strings.welcome_more}",
        examples=cards,
    )


def _notice(
    strings: Strings,
) -> tuple[gr.Row, gr.HTML, gr.Button, gr.Button, gr.Button, gr.Button]:
    go_on = gr.Button(visible="hidden", elem_id="go-on")
    ask_base = gr.Button(visible="hidden", elem_id="ask-base")
    with gr.Row(visible=False, elem_id="notice") as row:
        text = gr.HTML()
        resume = gr.Button(strings.resume, variant="primary", size="sm", elem_id="resume")
        dismiss = gr.Button(strings.dismiss, size="sm", elem_id="dismiss")
    return row, text, resume, go_on, ask_base, dismiss


def _picture(strings: Strings) -> tuple[gr.Row, gr.HTML, gr.Button]:
    with gr.Row(visible=False, elem_id="picture") as row:
        chip = gr.HTML()
        remove = gr.Button(strings.remove_picture, size="sm", elem_id="remove-picture")
    return row, chip, remove


def _box(strings: Strings) -> gr.MultimodalTextbox:
    return gr.MultimodalTextbox(
        elem_id="box",
        label=strings.message_label,
        show_label=False,
        placeholder=strings.message_hint,
        file_types=["image", "video"],
        file_count="multiple",  # each is asked about
        lines=1,
        max_lines=8,
        max_plain_text_length=PASTE_LIMIT,
        container=False,
    )


def _tools(
    cards: tuple[AdapterCard, ...], strings: Strings
) -> tuple[gr.Dropdown, gr.HTML, gr.Button, gr.Button]:
    with gr.Row(elem_id="tools"):
        adapter = gr.Dropdown(
            html.adapter_choices(cards, strings),
            value="auto",
            label=strings.adapter,
            filterable=False,
            elem_id="adapter",
            min_width=0,
            scale=0,
        )
        note = gr.HTML(html.adapter_note("auto", cards, strings), elem_id="adapter-note")
        camera = gr.Button(strings.camera, size="sm", elem_id="camera", min_width=0, scale=0)
        settings = gr.Button(
            strings.settings, size="sm", elem_id="open-settings", min_width=0, scale=0
        )
    return adapter, note, camera, settings


def _controls(strings: Strings) -> tuple[gr.components.Component, ...]:
    default = Sampling()
    gr.HTML(html.panel_title(strings.settings))
    system = gr.Textbox(
        label=strings.system, placeholder=strings.system_hint, lines=3, max_lines=8, max_length=4000
    )

    def slider(name: str, low: float, high: float, step: float) -> gr.Slider:
        value, label = getattr(default, name), getattr(strings, name)
        info = getattr(strings, f"{name}_more")
        return gr.Slider(low, high, value, step=step, label=label, info=info)

    return (
        system,
        slider("temperature", 0, 2, 0.05),
        slider("top_p", 0.05, 1, 0.05),
        slider("top_k", 0, 200, 1),
        slider("repetition_penalty", 1, 2, 0.05),
        slider("max_new_tokens", 1, 1024, 1),
        gr.Number(
            default.seed,
            label=strings.seed,
            info=strings.seed_more,
            precision=0,
            minimum=0,
            maximum=2**32 - 1,
        ),
        slider("strength", 0, 2, 0.05),
    )
