"""What visitors see of every snippet, pinned: `test_html_snippets.html` holds it.

`python -m tests.unit.ui.test_html_snippets` writes that file anew, after a change that is meant.
"""

import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, UndefinedError

from demo.ui import html
from demo.ui.strings import ENGLISH
from tests.unit.ui.snippets import NASTY, page_snippets, teach_snippets

PINNED = Path(__file__).with_suffix(".html")
_IMAGE = re.compile(r"(data:image/webp;base64,)[\w+/=]{40,}")  # differs by the encoder's version


class _Seen(HTMLParser):
    """What a browser reads: tags, attributes and text, whichever way they are escaped."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.parts: list[Any] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(tag)

    def handle_data(self, data: str) -> None:
        self.parts.append(["text", data])


@cache
def all_snippets() -> dict[str, str]:
    shown = page_snippets(ENGLISH) | teach_snippets(ENGLISH.teach)
    return {name: _IMAGE.sub(r"\1…", text) for name, text in shown.items()}


@cache
def pinned() -> dict[str, str]:
    parts = re.split(r"^<!-- (.+) -->\n", PINNED.read_text("utf-8"), flags=re.M)
    return {name: text[:-1] for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("name", all_snippets())
def test_a_snippet_shows_what_it_showed(name: str) -> None:
    assert _Seen(all_snippets()[name]).parts == _Seen(pinned()[name]).parts


def test_nothing_that_was_pinned_is_gone() -> None:
    assert all_snippets().keys() == pinned().keys()


@pytest.mark.parametrize("name", all_snippets())
def test_text_of_strangers_is_only_text(name: str) -> None:
    shown = all_snippets()[name]
    assert NASTY not in shown and "<script" not in shown and 'onerror="' not in shown
    for part in _Seen(shown).parts:
        if isinstance(part, tuple):  # a tag, with its attributes
            tag, attributes = part
            assert tag != "script" and not any(key.startswith("on") for key, _ in attributes)
            if tag == "img":
                assert dict(attributes)["src"].startswith("data:image/webp;base64,")


def test_a_template_may_be_indented() -> None:
    """Its line breaks are a space between words and nothing beside a tag; those of values stay."""
    source = """
        <ul>
          {% for x in xs %}
            <li class="a"
              id="b">{{ x }} c
              d</li>
          {% endfor %}
        </ul>
    """
    template = Environment(extensions=[html.Indented]).from_string(source)
    assert template.render(xs=["1\n  2"]) == '<ul><li class="a" id="b">1\n  2 c d</li></ul>'


def test_a_value_that_a_template_was_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        html.render("page.html", "notice")
    with pytest.raises(TypeError):
        html.render("page.html", "notice", text="a", texts="b")


if __name__ == "__main__":
    texts = [f"<!-- {name} -->\n{text}\n" for name, text in all_snippets().items()]
    PINNED.write_text("".join(texts), "utf-8")
