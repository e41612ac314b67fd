"""The words of the page, so that a second language is a second `Strings`.

Those of the tabs "Teach" and "Library" lie beside them, in `words.py`.

Words in braces are filled in by the module that shows the sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass

from demo.ui.about.words import AboutWords
from demo.ui.library.words import LibraryWords
from demo.ui.teach.words import TeachWords


@dataclass(frozen=True)
class ExampleCard:
    """A card of the empty chat: its label, the question and, if any, one of `assets/samples/`."""

    label: str
    text: str
    picture: str | None = None


@dataclass(frozen=True)
class Strings:
    """The words of the page: its frame, the chat, the settings, what goes wrong."""

    language: str = "en"  # of these words, as HTML names it
    html_language: str = "en"
    locale: str = "en_US"
    language_switch: str = "中文"  # the other language's name for itself
    said: Callable[[str], str] = str  # a sentence of the layers below, in this language

    # What Gradio says in English alone → in this language; a gap is at the end.
    names: tuple[tuple[str, str], ...] = ()

    title: str = "LLaMA-Adapter Studio"
    tagline: str = "Chat with pictures on a frozen 8-bit LLaMA"
    api: str = "API"
    api_hint: str = "Use this page from a program"
    theme_hint: str = "Switch between light and dark"

    keys: str = "Keys"
    keys_list: tuple[tuple[str, str], ...] = (
        ("Enter", "Send"),
        ("Shift + Enter", "A new line"),
        ("Esc", "Stop the reply"),
        ("↑", "The last question once more, in an empty box"),
        ("?", "These keys"),
    )

    ready: str = "Ready"
    failed: str = "Not available"
    status_facts: str = "{bits} bit · {threads} threads"
    status_facts_one: str = "{bits} bit · 1 thread"
    status_hint: str = "Vision tower: {clip}. Device: {device}. Memory: {memory} MB."
    failed_title: str = "The model could not be loaded"

    chat_tab: str = "Chat"
    welcome: str = "What shall we look at?"
    welcome_more: str = (
        "Drop, paste or take a picture, or drop a short video, and ask about it; teach it your own "
        "examples in the tab Teach; or start with one of these."
    )
    message_label: str = "Your message"
    message_hint: str = "Ask, or drop a picture"
    settings: str = "Settings"
    new_chat: str = "New chat"
    camera: str = "Camera"
    camera_label: str = "Take a picture"
    picture_in_use: str = "Picture in use"
    video_in_use: str = "Video in use"
    picture_in_use_more: str = "looked at when you ask about it"
    taught_with: str = "The eyes were taught with {sees}."
    remove_picture: str = "Remove"
    picture_alt: str = "Picture sent with this message"
    opening_video: str = "Opening the video"
    video_frames: str = "A video, {length}; I look at {count} frames of it."
    video_frame: str = "A video, {length}; I look at one frame of it."
    video_cut: str = (
        "A video that could not be read to its end; I look at {count} frames of its {length}."
    )
    frame_alt: str = "The video after {second}"
    seconds: str = "{number} s"
    resume: str = "Continue without the oldest turns"
    dismiss: str = "Dismiss"
    typing: str = "Reading the message"
    unanswered: str = "No reply yet. Try again with the round arrow."
    never_answered: str = "No reply was written."

    chats: str = "Chats"
    chats_toggle: str = "Show or hide your chats"
    chats_search: str = "Search your chats"
    chats_rename: str = "Rename"
    chats_delete: str = "Delete"
    chats_keep: str = "Keep"
    chats_delete_all: str = "Delete all"
    chats_delete_all_yes: str = "Delete all for good"
    chats_none_found: str = "No chat holds these words."
    chats_more: str = "{count} older ones: search to find them."
    chats_note: str = (
        "Kept on this server, for this browser alone, until nobody has used them for {days} days."
    )
    chats_off: str = "This server keeps no chats: they are gone when you close the page."

    export: str = "This chat as"
    export_copy: str = "Copy all"
    export_you: str = "You"
    export_reply: str = "Reply"

    adapter: str = "Adapter"
    adapter_auto: str = "auto"
    adapter_auto_more: str = (
        "With a picture, the adapter that knows such pictures; else the plain base."
    )
    adapter_none: str = "none"
    no_adapter_here: str = (
        "The address asks for the adapter “{name}”, which is not here. Choose another one."
    )
    adapter_none_more: str = "The plain base, which cannot see pictures."
    adapter_facts: str = "{description} {parameters} parameters, for {modalities}."
    modality_text: str = "text"
    modality_image: str = "text and pictures"

    system: str = "System prompt"
    system_hint: str = "How the model should behave, for the whole chat"
    temperature: str = "Temperature"
    temperature_more: str = (
        "0 always picks the likeliest token: the same question gets the same reply."
    )
    top_p: str = "Top-p"
    top_p_more: str = "Draw only from the likeliest tokens that together hold this probability."
    top_k: str = "Top-k"
    top_k_more: str = "Draw only from this many tokens. 0 keeps all."
    repetition_penalty: str = "Repetition penalty"
    repetition_penalty_more: str = "Above 1 makes words that were already used less likely."
    max_new_tokens: str = "Longest reply"
    max_new_tokens_more: str = "In tokens; a token is about three quarters of a word."
    seed: str = "Seed"
    seed_more: str = "The same seed repeats the same draw."
    strength: str = "Strength"
    strength_more: str = "Of the adapter. 0 is the plain base, 1 as taught; far above, nonsense."

    plain_base: str = "no adapter"
    small_base: str = (
        "This is a small model ({base}) and it makes mistakes. A larger one answers better: "
        "`python app.py --llama ID`, with the id of a LLaMA on the Hub."
    )
    page_can: str = (
        "The model does not know this page. Here it can answer in words, look at a picture or a "
        "short video that you attach, and learn from your own examples in the tab Teach; the "
        "Library has its adapters, About says how it works."
    )
    foreign: str = (
        "{base} was taught English alone, so it cannot answer this. Please ask in English, choose "
        "an adapter that was taught in your language, or start a larger model with --llama."
    )
    picture_used: str = "picture used"
    frames_used: str = "{count} frames used"
    frame_used: str = "one frame used"
    no_picture: str = "no picture"
    tokens: str = "read {prompt}, wrote {reply} tokens"
    tokens_hint: str = "Tokens of the prompt and of the reply"
    first_token: str = "first token {seconds} s"
    speed: str = "{speed} tokens/s"
    recalled: str = "from what you taught: {question}"
    recalled_hint: str = "Your question was taken for this one, which the adapter was taught."
    read_as: str = "read as “{question}”"
    read_as_hint: str = "Your question was read in the words that the adapter knows best."
    unfamiliar: str = "I am not sure about this picture: it is unlike those I learned from."
    stopped_length: str = "cut at {count} tokens"
    stopped_cancelled: str = "stopped"
    stopped_deadline: str = "stopped at the time limit"
    stopped_repeated: str = "stopped: it began to repeat itself"
    go_on: str = "continue"
    ask_base: str = "ask the base too"
    base_says: str = "The base alone says"
    base_says_blind: str = "The base alone, which sees no picture, says"
    version_before: str = "Earlier version"
    version_after: str = "Later version"

    being_answered: str = (
        "The last message is still being answered. Wait for it, or press Stop, and send again."
    )
    refused_media: str = (
        "“{name}” is neither a picture (JPEG, PNG, WebP, GIF) nor a video (MP4, WebM, GIF)."
    )
    refused_kind: str = "“{name}” cannot be used here. Please choose one of these kinds: {kinds}."
    many_pictures: str = "A message takes {most} pictures at most. Please take some out of it."
    picture_gone: str = "The file is no longer on the server. Please attach it again."
    not_an_upload: str = (
        "The picture or video has to be an upload of this session; addresses and paths are not "
        "opened. With gradio_client, pass handle_file(...)."
    )
    not_a_text: str = "{name} has to be a text."
    not_a_key: str = (
        "That is no key of this page. The Teach tab shows yours, with the adapters you taught."
    )
    nothing_here: str = "That message is no longer part of this chat. Reload the page."
    corrected: str = "corrected by you"
    teach: TeachWords = TeachWords()
    library: LibraryWords = LibraryWords()
    about: AboutWords = AboutWords()
    uploads_full: str = (
        "Too many files are being received at the moment. Please try again in some minutes."
    )
    uploads_yours: str = (
        "You have sent many files that are not used yet. Please send them with a message, or try "
        "again in an hour."
    )
    upload_damaged: str = "The upload is damaged. Please send the file again."
    too_large: str = (
        "The request is too large: this page takes at most {limit} MB and {files} files at once."
    )
    other_host: str = (
        "This page is not served under that name. Whoever starts it can allow it with --hosts."
    )
    other_site: str = (
        "Pages of other sites may not use this one. Whoever starts it can allow one with --origins."
    )
    too_many_calls: str = "You are asking very often. Please wait a minute and try again."
    too_many_logins: str = "There were many attempts to log in. Please wait a minute and try again."
    no_such_call: str = "This request cannot be answered: it is none that the page makes."
    call_gone: str = (
        "This call is over, or nobody listened to it in time. Please make it once more."
    )
    stopping_now: str = "The program is being stopped. Please try again in a minute."
    unexpected: str = "Something went wrong on our side; it has been logged. Please try again."

    examples: tuple[ExampleCard, ...] = (
        ExampleCard("What is this?", "What is this?", "apple.png"),
        ExampleCard("Is it a building?", "Is this a building?", "house.png"),
        ExampleCard("What kind of thing?", "What kind of thing is this?", "car.png"),
        ExampleCard("What shape is this?", "What shape is in the image?", "teal-triangle.png"),
        ExampleCard("Which colour is it?", "What color is the shape?", "red-circle.png"),
        ExampleCard(
            "Can you see a circle?", "Does the image contain a circle?", "yellow-circle.png"
        ),
        ExampleCard("Explain the rainbow", "Explain in two sentences why a rainbow has colors."),
        ExampleCard("Find a capital", "What is the capital of France?"),
        ExampleCard("Write some Python", "Write a Python function that adds two numbers."),
    )


ENGLISH = Strings()
