"""The words of the tab "Library"."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class LibraryWords:
    """What the tab says; words in braces are filled in by the module that shows the sentence."""

    said: Callable[[str], str] = str  # a sentence of the layers below, in this language
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
    left_open: str = "Left open"
    unknown: str = "not said"
    use: str = "Use in chat"
    more: str = "Teach more"
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
    hub: str = "From the Hugging Face Hub"
    hub_repository: str = "Its id on the Hub"
    hub_repository_hint: str = "name/adapter"
    hub_fetch: str = "Fetch it"
    hub_fetching: str = "Fetching it from the Hub"
    hub_put: str = "Put it on the Hugging Face Hub"
    hub_target: str = "Its id there"
    hub_target_hint: str = "your-name/adapter"
    hub_private: str = "A new repository is mine alone"
    hub_put_note: str = (
        "The file goes there with a card that says what it is. Whoever gets the file can read the "
        "facts that it was taught."
    )
    hub_putting: str = "Putting it on the Hub"
    hub_there: str = "“{name}” is on the Hub as {repository}."
    hub_sign_in: str = "Sign in with Hugging Face"
    hub_sign_out: str = "Sign out ({})"
    hub_sign_in_first: str = (
        "Please sign in with Hugging Face first, with the button below “From the Hugging Face Hub”."
    )
    hub_no_token: str = (
        "Nobody is logged in to the Hub on this machine. Get a token that may write at "
        "huggingface.co/settings/tokens, then run 'hf auth login', or start this program with it "
        "as HF_TOKEN."
    )
    hub_no_account: str = (
        "This page has no account on the Hub for its visitors. Download the adapter, get a token "
        "that may write at huggingface.co/settings/tokens, and put the file there with 'hf upload'."
    )
    hub_login_home: str = "log in with 'hf auth login' or set HF_TOKEN"
    hub_login_space: str = "sign in with an account that may"
