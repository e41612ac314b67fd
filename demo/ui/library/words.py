"""The words of the tab "Library"."""

from dataclasses import dataclass

from demo.ui.sentences import Sentences


@dataclass(frozen=True)
class LibraryWords:
    """What the tab says; words in braces are filled in by the module that shows the sentence."""

    said: Sentences = Sentences()  # of the layers below the page
    tab: str = "Library"
    title: str = "Adapters"
    intro: str = (
        "Each adapter is a small file that teaches the frozen model one thing. Choose one to see "
        "what it is, or bring one: made by this program, or released by the authors."
    )
    search: str = "Search"
    search_hint: str = "A name, or what it is for"
    show: str = "Show"
    show_all: str = "All"
    show_fits: str = "Fits what is loaded"
    show_own: str = "Yours"
    upload: str = "Bring an adapter"
    upload_hint: str = (
        "A .safetensors file of this program, a .pth file of the authors of LLaMA-Adapter, a zip "
        "of PEFT's folder (LoRA, AdaptionPrompt), or litgpt's adapter file, at most 200 MB. It is "
        "checked before it is used, and only you see it here."
    )
    checking: str = "Checking the file"
    brought: str = "“{name}” is in your library."
    not_a_file: str = "That file did not arrive. Please choose it again."
    counted: str = "{shown} of {all} adapters"
    counted_one: str = "1 adapter"
    narrowed: str = "The first {shown} of {all} adapters; search to see others."
    nothing: str = "No adapter is like that. Clear the search, or show all."
    own: str = "yours"
    shipped: str = "everybody's"
    misfit: str = "needs another base or tower"
    kind_prompts: str = "prompts"
    kind_biases: str = "biases"
    kind_scales: str = "scales"
    kind_norms: str = "norms"
    kind_low_rank: str = "LoRA {rank}"
    kind_pictures: str = "sees pictures"
    gates: str = "How far the gates of each layer are open, the lowest layer first"
    no_description: str = "Nobody has said what it is for."
    base: str = "Base"
    tower: str = "Vision tower"
    kind: str = "Kind"
    numbers: str = "Trained numbers"
    size: str = "File"
    made_from: str = "Made from"
    examples: str = "{data}, {count:,} examples"
    released_by: str = "{kind}, from {file}"
    date: str = "Date"
    licence: str = "Licence"
    unknown: str = "not said"
    use: str = "Use in chat"
    download: str = "Download"
    close: str = "Close"
    name: str = "Name"
    description: str = "What it is for"
    save: str = "Save"
    saved: str = "Saved as “{name}”."
    delete: str = "Delete"
    delete_sure: str = "Delete “{name}” for good?"
    delete_yes: str = "Delete for good"
    delete_no: str = "Keep it"
    deleted: str = "“{name}” is deleted."
    choose_first: str = "Choose an adapter first."
