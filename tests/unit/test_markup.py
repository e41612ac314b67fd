"""What visitors and models write, as the chat shows it."""

import pytest

from demo.ui.markup import GUARD, from_markdown, to_markdown

TAG = "<" + GUARD


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", f"{TAG}script>alert(1){TAG}/script>"),
        ("<!-- a --> <?b?>", f"{TAG}!-- a --> {TAG}?b?>"),
        ("3 < 4 and a <- b", "3 < 4 and a <- b"),
        ("![x](//evil.test/x.png)", f"!{GUARD}[x](//evil.test/x.png)"),
        ("[a link](https://a.test)", "[a link](https://a.test)"),
        ("```html\n<b>\n```", f"```html\n{TAG}b>\n```"),
        ("```mermaid\ngraph\n```", "```text\ngraph\n```"),
        ("**bold** and `code`", "**bold** and `code`"),
    ],
)
def test_tags_and_remote_pictures_are_shown_as_typed(text: str, shown: str) -> None:
    assert to_markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$x^2$ is", r"\(x^2\) is"),
        ("so $a_1 + b$, and $c$.", r"so \(a_1 + b\), and \(c\)."),
        ("$5 and $10", "$5 and $10"),
        ("$$x$$", "$$x$$"),
        ("`$a$` $b$", r"`$a$` \(b\)"),
        ("```sh\necho $HOME $USER\n```", "```sh\necho $HOME $USER\n```"),
        ("```sh\necho $a$", "```sh\necho $a$"),  # a fence that is still streaming
        (r"\$x$ and \(y\)", r"\$x$ and \(y\)"),
    ],
)
def test_dollars_are_formulas_only_where_they_look_like_one(text: str, shown: str) -> None:
    assert to_markdown(text) == shown


def test_half_characters_cannot_reach_the_reply() -> None:
    assert to_markdown("a\ud83d b") == "a? b"


@pytest.mark.parametrize("text", ["<b>x</b>", "![x](y)", "a <- b", "```\n<x>\n```"])
def test_the_edit_box_gives_back_what_was_typed(text: str) -> None:
    assert from_markdown(to_markdown(text)) == text
