"""The tab "Library": what is where. What happens is in `handlers.py`."""

from dataclasses import dataclass

import gradio as gr

from demo.ui.library import cards
from demo.ui.library.words import LibraryWords

FILE_TYPES = [".safetensors", ".pth", ".zip", ".bin", ".adapter"]


@dataclass(frozen=True)
class LibraryView:
    """The components that handlers read or change."""

    search: gr.Textbox
    show: gr.Radio
    upload: gr.UploadButton
    repository: gr.Textbox  # on the Hub, to fetch
    fetch: gr.Button
    message: gr.HTML
    list: gr.HTML
    chosen: gr.Textbox  # filled by the page with the name on the card that is pressed
    choose: gr.Button  # pressed by the page
    detail: gr.Column
    facts: gr.HTML
    use: gr.Button
    more: gr.Button  # teaches it more
    download: gr.DownloadButton
    close: gr.Button
    target: gr.Textbox  # on the Hub, to put it there
    private: gr.Checkbox
    put: gr.Button
    own: gr.Column  # what only the owner may change
    name: gr.Textbox
    description: gr.Textbox
    save: gr.Button
    delete: gr.Button
    sure: gr.Row  # asks before it is deleted
    sure_text: gr.HTML
    delete_yes: gr.Button
    delete_no: gr.Button


def build_library(words: LibraryWords, *, sign_in: bool = False, teach: bool = True) -> LibraryView:
    """Lay the tab out inside the current `gr.Tab`.

    Args:
        words: of the tab.
        sign_in: whether visitors sign in to the Hub, as on a Space.
        teach: whether anything can be taught.
    """
    with gr.Column(elem_id="library"), gr.Column(elem_id="library-page"):
        gr.HTML(cards.intro(words))
        with gr.Row(elem_id="library-tools"):
            search = gr.Textbox(
                label=words.search, placeholder=words.search_hint, max_length=200, scale=2
            )
            options = [("all", words.show_all), ("fits", words.show_fits), ("own", words.show_own)]
            choices = [(word, value) for value, word in options]
            show = gr.Radio(choices, value="all", label=words.show, scale=3)
            upload = gr.UploadButton(
                words.upload, file_types=FILE_TYPES, elem_id="library-upload", scale=1
            )
        gr.HTML(cards.quiet(words.upload_hint))
        hub = _hub(words, sign_in)
        message = gr.HTML(elem_id="library-message")
        detail, parts = _detail(words, teach)
        listed = gr.HTML(elem_id="library-list")
        with gr.Column(elem_classes=["unseen"]):
            chosen = gr.Textbox(elem_id="library-chosen")
            choose = gr.Button(elem_id="library-choose")
    return LibraryView(search, show, upload, *hub, message, listed, chosen, choose, detail, *parts)


def _hub(words: LibraryWords, sign_in: bool) -> tuple[gr.Textbox, gr.Button]:
    with gr.Accordion(words.hub, open=False, elem_id="library-hub"):
        with gr.Row(elem_classes=["hub-row"]):
            repository = gr.Textbox(
                label=words.hub_repository, placeholder=words.hub_repository_hint, max_length=200
            )
            fetch = gr.Button(words.hub_fetch, size="sm", scale=0, elem_id="library-fetch")
        if sign_in:
            gr.LoginButton(words.hub_sign_in, words.hub_sign_out, size="sm")
    return repository, fetch


def _put(words: LibraryWords) -> tuple[gr.Textbox, gr.Checkbox, gr.Button]:
    with gr.Accordion(words.hub_put, open=False, elem_id="library-put"):
        gr.HTML(cards.quiet(words.hub_put_note))
        with gr.Row(elem_classes=["hub-row"]):
            target = gr.Textbox(
                label=words.hub_target, placeholder=words.hub_target_hint, max_length=200
            )
            put = gr.Button(words.hub_put, size="sm", scale=0, elem_id="library-put-there")
        private = gr.Checkbox(value=True, label=words.hub_private)
    return target, private, put


def _detail(words: LibraryWords, teach: bool) -> tuple[gr.Column, tuple]:
    with gr.Column(visible=False, elem_id="library-detail") as detail:
        facts = gr.HTML()
        with gr.Row(elem_classes=["actions"]):
            use = gr.Button(words.use, variant="primary", size="sm", elem_id="library-use")
            more = gr.Button(words.more, size="sm", elem_id="library-more", visible=teach)
            download = gr.DownloadButton(words.download, size="sm", elem_id="library-download")
            close = gr.Button(words.close, size="sm", elem_id="library-close")
        hub = _put(words)
        with gr.Column(visible=False, elem_id="library-own") as own:
            name = gr.Textbox(label=words.name, max_length=60, elem_id="library-name")
            description = gr.Textbox(
                label=words.description, max_length=500, lines=2, elem_id="library-description"
            )
            with gr.Row(elem_classes=["actions"]):
                save = gr.Button(words.save, size="sm", elem_id="library-save")
                delete = gr.Button(words.delete, size="sm", elem_id="library-delete")
            with gr.Row(visible=False, elem_classes=["actions"]) as sure:
                sure_text = gr.HTML()
                yes = gr.Button(words.delete_yes, variant="stop", size="sm", elem_id="library-yes")
                no = gr.Button(words.delete_no, size="sm")
    actions = (use, more, download, close)
    kept = (own, name, description, save, delete, sure, sure_text, yes, no)
    return detail, (facts, *actions, *hub, *kept)
