"""Snippets and Markdown: what is said, and that nothing from outside is more than text."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from demo.adapter.passport import AdapterCard
from demo.chat.conversation import ReplyStats
from demo.runtime import Status
from demo.ui import html
from demo.ui.html import GUARD, from_markdown, to_markdown
from demo.ui.strings import ENGLISH
from tests.unit.ui.snippets import NASTY

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
        ("```mermaid\ngraph\n```", f"```{GUARD}mermaid\ngraph\n```"),
        ("**bold** and `code`", "**bold** and `code`"),
    ],
)
@pytest.mark.matrix("C8")
def test_tags_and_remote_pictures_are_shown_as_typed(text: str, shown: str) -> None:
    assert to_markdown(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("$x^2$ is", f"{GUARD}$x^2${GUARD} is"),
        ("so $a_1 + b$, $c$.", f"so {GUARD}$a_1 + b${GUARD}, {GUARD}$c${GUARD}."),
        ("${A}/${B}", "${A}/${B}"),
        ("s/^$/x/; s/$/y/", "s/^$/x/; s/$/y/"),
        ("$5 and $10", "$5 and $10"),
        ("$$x$$", "$$x$$"),
        ("`$a$` $b$", f"`$a$` {GUARD}$b${GUARD}"),
        ("```sh\necho $HOME $USER\n```", "```sh\necho $HOME $USER\n```"),
        ("```sh\necho $a$", "```sh\necho $a$"),  # a fence that is still streaming
        (r"\$x$ and \(y\)", r"\$x$ and \(y\)"),
    ],
)
def test_dollars_are_formulas_only_where_they_look_like_one(text: str, shown: str) -> None:
    assert to_markdown(text) == shown


def test_half_characters_cannot_reach_the_reply() -> None:
    assert to_markdown("a\ud83d b") == "a? b"


@pytest.mark.parametrize(
    "text",
    [
        "<b>x</b>", "![x](y)", "a <- b", "```\n<x>\n```",
        "solve $x^2$ and \\(y\\)", "${A}/${B}", "sed 's/^$/x/; s/$/y/'", "print $1, $HOME$ and $x$",
        "$el$.each", "```mermaid\ngraph TD\n```", "$5 and $10", "  indented\n\tcode\n\n",
        f"typed {GUARD} <{GUARD}b> {GUARD}$x${GUARD}{GUARD}", f"<{GUARD}", f"![{GUARD}",
    ],
)  # fmt: skip
def test_the_edit_box_gives_back_what_was_typed(text: str) -> None:
    assert from_markdown(to_markdown(text)) == text


@pytest.mark.parametrize("state", ["loading", "ready", "failed"])
def test_status_from_outside_is_only_text(state: str) -> None:
    status = Status(state, NASTY, 0.5, NASTY, NASTY, NASTY, 8, 2, 300.0)  # type: ignore[arg-type]
    for shown in (
        html.status_pill(status, ENGLISH),
        html.failed_panel(status, ENGLISH),
        html.notice(NASTY),
        html.waiting_line(NASTY),
    ):
        assert "<img" not in shown


def test_status_pill_shows_progress_only_while_there_is_some() -> None:
    status = Status("loading", "Converting", 0.42, "", "", "cpu", 8, 2, 300.0)
    assert "42%" in html.status_pill(status, ENGLISH)
    ready = Status("ready", "Ready", None, "SmolLM2", "tower", "cpu", 8, 2, 300.0)
    assert "SmolLM2 · 8 bit · 2 threads" in html.status_pill(ready, ENGLISH)
    one = replace(ready, threads=1)
    assert "8 bit · 1 thread<" in html.status_pill(one, ENGLISH)


def test_footer_says_who_answered_and_how_fast() -> None:
    stats = ReplyStats("shapes", True, 41, 6, 0.42, 61.4, "cancelled")
    footer = html.reply_footer(stats, ENGLISH)
    words = (
        "shapes",
        "picture used",
        "read 41, wrote 6 tokens",
        "first token 0.42 s",
        "61 tokens/s",
    )
    assert all(word in footer for word in (*words, "stopped"))
    plain = ReplyStats("none", False, 9, 1, 0.1, 0.0, "end")
    assert "no adapter" in html.reply_footer(plain, ENGLISH)
    assert "tokens/s" not in html.reply_footer(plain, ENGLISH)  # one token has no speed


def test_a_doubt_about_the_picture_stands_on_a_line_of_its_own() -> None:
    stats = ReplyStats("sight", True, 41, 6, 0.42, 61.4, "end")
    sure = html.reply_footer(stats, ENGLISH)
    doubtful = html.reply_footer(stats, ENGLISH, unfamiliar=True)
    assert doubtful == html.doubt_note(ENGLISH) + sure
    assert "I am not sure about this picture" in doubtful and "I am not sure" not in sure


def test_adapter_sentence_describes_each_choice() -> None:
    card = AdapterCard(
        name="pirate",
        description="Talks like a sailor.",
        modalities=["text"],
        parameters=172_800,
        base="SmolLM2",
    )
    said = html.adapter_sentence("pirate", (card,), ENGLISH)
    assert said == "Talks like a sailor. 172,800 parameters, for text."
    assert html.adapter_sentence("gone", (card,), ENGLISH) == ""
    assert "plain base" in html.adapter_sentence("none", (card,), ENGLISH)


@pytest.mark.parametrize(
    ("image", "frames", "words"),
    [
        (False, 0, "no picture"),
        (True, 0, "picture used"),
        (True, 1, "one frame used"),
        (True, 8, "8 frames used"),
    ],
)
def test_facts_say_what_was_seen(image: bool, frames: int, words: str) -> None:
    stats = ReplyStats("none", image, 9, 3, 0.1, 50.0, "end", frames)
    assert f">{words}<" in html.reply_footer(stats, ENGLISH)


# From OWASP's list of filter evasions, each with its tag, handler or address.
EVASIONS = r'''
<SCRIPT SRC=https://x.test/x.js></SCRIPT>
<IMG SRC="javascript:alert('XSS');">
<IMG SRC=javascript:alert('XSS')>
<IMG SRC=JaVaScRiPt:alert('XSS')>
<IMG SRC=`javascript:alert("RSnake says, 'XSS'")`>
<IMG """><SCRIPT>alert("XSS")</SCRIPT>"\\>
<IMG SRC=# onmouseover="alert('xxs')">
<IMG SRC= onmouseover="alert('xxs')">
<IMG onmouseover="alert('xxs')">
<IMG SRC=/ onerror="alert(String.fromCharCode(88,83,83))"></img>
<img src=x onerror="&#0000106&#0000097&#0000118">
<IMG SRC="jav&#x09;ascript:alert('XSS');">
<SCRIPT/XSS SRC="https://x.test/x.js"></SCRIPT>
<BODY onload!#$%&()*~+-_.,:;?@[/|\\]^`=alert("XSS")>
<<SCRIPT>alert("XSS");//\\<</SCRIPT>
<SCRIPT SRC=//x.test/.j>
<IMG SRC="`<javascript:alert>`('XSS')"
</TITLE><SCRIPT>alert("XSS");</SCRIPT>
<INPUT TYPE="IMAGE" SRC="javascript:alert('XSS');">
<BODY BACKGROUND="javascript:alert('XSS')">
<LINK REL="stylesheet" HREF="javascript:alert('XSS');">
<STYLE>li {list-style-image: url("javascript:alert('XSS')");}</STYLE>
<svg/onload=alert('XSS')>
<BGSOUND SRC="javascript:alert('XSS');">
<BR SIZE="&{alert('XSS')}">
<META HTTP-EQUIV="refresh" CONTENT="0;url=javascript:alert('XSS');">
<IFRAME SRC="javascript:alert('XSS');"></IFRAME>
<IFRAME SRC=# onmouseover="alert(document.cookie)"></IFRAME>
<FRAMESET><FRAME SRC="javascript:alert('XSS');"></FRAMESET>
<TABLE><TD BACKGROUND="javascript:alert('XSS')">
<DIV STYLE="background-image: url(javascript:alert('XSS'))">
<BASE HREF="javascript:alert('XSS');//">
<OBJECT TYPE="text/x-scriptlet" DATA="https://x.test/s.html"></OBJECT>
<EMBED SRC="data:image/svg+xml;base64,PHN2" type="image/svg+xml"></EMBED>
<!--#exec cmd="/bin/echo '<SCR'"--><!--#exec cmd="/bin/echo 'IPT'"-->
<? echo('<SCR)';echo('IPT>alert("XSS")</SCRIPT>'); ?>
<details open ontoggle=alert(1)>
<video><source onerror="alert(1)">
<audio src onloadstart=alert(1)>
<marquee onstart=alert(1)>
<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>
<select autofocus onfocus=alert(1)>
<textarea autofocus onfocus=alert(1)>
<keygen autofocus onfocus=alert(1)>
<a href="javascript:alert(1)">x</a>
<form><button formaction=javascript:alert(1)>x
<isindex type=image src=1 onerror=alert(1)>
<input onfocus=write(1) autofocus>
<template><script>alert(1)</script></template>
<noscript><p title="</noscript><img src=x onerror=alert(1)>">
<x contenteditable onblur=alert(1)>x
'''.strip().splitlines()


class Tags(HTMLParser):
    """Collects the tags, comments and instructions that a parser of HTML sees."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.found.append(tag)

    handle_comment = handle_decl = handle_pi = handle_endtag


@pytest.mark.matrix("C8")
def test_no_evasion_of_a_filter_is_a_tag() -> None:
    assert len(EVASIONS) >= 50
    for text in EVASIONS:
        raw, seen = Tags(), Tags()
        raw.feed(text)
        raw.close()
        seen.feed(to_markdown(text))
        seen.close()
        assert raw.found or text.startswith("<IMG")  # else the case says nothing
        assert seen.found == [], text
        assert from_markdown(to_markdown(text)) == text
