"""Free text of visitors and models → Markdown that is safe and looks as it was meant.

The chat renders Markdown, code and LaTeX. It must not render HTML that somebody typed, load a
picture from another host, or read "$5 and $10" as a formula.
"""

import re

# Invisible and without width. After `<` it keeps Markdown from seeing a tag, between `!` and `[`
# from seeing a picture; assets/studio.js takes it out again when text is copied.
GUARD = "\u2060"

_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PICTURE = re.compile(r"!(?=\[)")
_MERMAID = re.compile(r"^(\s*)(`{3,}|~{3,})[ \t]*mermaid\b", re.MULTILINE)
_CODE = re.compile(r"(```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`)", re.DOTALL)
# Pandoc's rule: no space inside the dollars, no digit or letter right outside them.
_DOLLARS = re.compile(r"(?<![\\$\w])\$(?![\s$])((?:[^$\n\\]|\\.)+?)(?<!\s)\$(?![\w$])")

LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": r"\[", "right": r"\]", "display": True},
    {"left": r"\(", "right": r"\)", "display": False},
]


def to_markdown(text: str) -> str:
    """Markdown for the chat: tags and remote pictures are shown as typed, `$x$` is a formula."""
    text = printable(text)
    text = _MERMAID.sub(r"\1\2text", text)  # diagrams would need scripts and fail half streamed
    parts = _CODE.split(text)
    parts[::2] = [_DOLLARS.sub(r"\\(\1\\)", part) for part in parts[::2]]
    return _PICTURE.sub("!" + GUARD, _TAG.sub("<" + GUARD, "".join(parts)))


def from_markdown(text: str) -> str:
    """The text behind what `to_markdown` made, as the edit box sends it back."""
    return text.replace("<" + GUARD, "<").replace("!" + GUARD + "[", "![")


def printable(text: str) -> str:
    """The text without halves of characters (lone surrogates), which no reply can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")
