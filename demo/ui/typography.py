"""Chinese as it is set: punctuation as wide as the characters it stands beside.

The words are written with the narrow marks of a Latin keyboard, which every editor has; what a
reader sees is made of them here. A mark stays narrow between Latin letters and figures, as in code.
"""

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any

_HAN = "\u3000-\u303f\u4e00-\u9fff\u201c\u201d\uff00-\uffef"
_BEFORE = _HAN + "}`"  # or after what is filled in, or a command
_PAIR = re.compile(
    rf"(?<=[{_BEFORE}])\(([^()]*)\)|\(([^()]*[{_HAN}][^()]*)\)|\(([^()]*)\)(?=[{_HAN}])"
)
_MARK = re.compile(rf"(?<=[{_BEFORE}])[,:;?!] ?|[,:;?!](?=[{_HAN}])")


def wide(mark: str) -> str:
    """Give the wide form of one narrow mark."""
    return chr(ord(mark) + 0xFEE0)


def typeset(text: str) -> str:
    """Set one text: marks and brackets beside Chinese characters become wide."""
    if not re.search(rf"[{_HAN}]", text):
        return text

    def bracketed(match: re.Match[str]) -> str:
        return wide("(") + next(group for group in match.groups() if group is not None) + wide(")")

    return _MARK.sub(lambda match: wide(match[0][0]), _PAIR.sub(bracketed, text))


def typeset_all(words: Any) -> Any:
    """Set all texts in a value of words: in a text, a tuple, or the fields of a dataclass."""
    if isinstance(words, str):
        return typeset(words)
    if isinstance(words, tuple):
        return tuple(typeset_all(part) for part in words)
    if is_dataclass(words) and not isinstance(words, type):
        changed = {field.name: getattr(words, field.name) for field in fields(words)}
        return replace(words, **{name: typeset_all(value) for name, value in changed.items()})
    return words
