"""Every sentence of the page in one place, so that a second language is a second `Strings`."""

from dataclasses import dataclass

from demo.ui.teach_words import TeachWords


@dataclass(frozen=True)
class Example:
    """A card of the empty chat: a question and, when not None, a picture of `assets/samples/`."""

    label: str
    text: str
    picture: str | None = None


@dataclass(frozen=True)
class Strings:
    """The English page. Words in braces are filled in by the module that shows the sentence."""

    title: str = "LLaMA-Adapter Studio"
    tagline: str = "Chat with pictures on a frozen 8-bit LLaMA"
    api: str = "API"
    api_hint: str = "Use this page from a program"
    theme_hint: str = "Switch between light and dark"

    ready: str = "Ready"
    failed: str = "Not available"
    status_facts: str = "{bits} bit · {threads} threads"
    status_facts_one: str = "{bits} bit · 1 thread"
    status_hint: str = "Vision tower: {clip}. Device: {device}. Memory: {memory} MB."
    failed_title: str = "The model could not be loaded"

    chat_tab: str = "Chat"
    welcome: str = "What shall we look at?"
    welcome_more: str = (
        "Drop, paste or take a picture, or drop a short video, and ask about it, or start with "
        "one of these."
    )
    message_label: str = "Your message"
    message_hint: str = "Ask, or drop a picture or a video"
    settings: str = "Settings"
    new_chat: str = "New chat"
    camera: str = "Camera"
    camera_label: str = "Take a picture"
    picture_in_use: str = "Picture in use"
    video_in_use: str = "Video in use"
    picture_in_use_more: str = "seen by every reply"
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

    adapter: str = "Adapter"
    adapter_auto: str = "auto"
    adapter_auto_more: str = (
        "With a picture, the adapter that knows such pictures; else the plain base."
    )
    adapter_none: str = "none"
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

    plain_base: str = "plain base"
    picture_used: str = "picture used"
    frames_used: str = "{count} frames used"
    frame_used: str = "one frame used"
    no_picture: str = "no picture"
    tokens: str = "{prompt} + {reply} tokens"
    tokens_hint: str = "Tokens of the prompt and of the reply"
    first_token: str = "first token {seconds} s"
    speed: str = "{speed} tokens/s"
    stopped_length: str = "cut at the longest reply"
    stopped_cancelled: str = "stopped"
    stopped_deadline: str = "stopped at the time limit"

    being_answered: str = (
        "The last message is still being answered. Wait for it, or press Stop, and send again."
    )
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

    unexpected: str = "Something went wrong on our side; it has been logged. Please try again."

    examples: tuple[Example, ...] = (
        Example("What is this?", "What is this?", "apple.png"),
        Example("Is it a building?", "Is this a building?", "house.png"),
        Example("What kind of thing?", "What kind of thing is this?", "car.png"),
        Example("What shape is this?", "What shape is in the image?", "teal-triangle.png"),
        Example("Which colour is it?", "What color is the shape?", "red-circle.png"),
        Example("Can you see a circle?", "Does the image contain a circle?", "yellow-circle.png"),
        Example("Explain the rainbow", "Explain in two sentences why a rainbow has colors."),
        Example("Find a capital", "What is the capital of France?"),
        Example("Write some Python", "Write a Python function that adds two numbers."),
    )


ENGLISH = Strings()
