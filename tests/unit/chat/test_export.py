"""A chat as a file: byte for byte what was typed and said, with its pictures."""

import json

import numpy as np

from demo.chat.conversation import Conversation, ReplyStats
from demo.chat.export import as_json, as_markdown
from demo.vision.image import Picture

TYPED = "    if x:\n\tprint $1, $HOME$ and $x$, ${A}/${B}\n```\n  code\n```\n"


def test_what_was_typed_comes_back_byte_for_byte() -> None:
    conversation = Conversation()
    conversation.ask(TYPED, Picture(np.zeros((4, 4, 3), np.uint8)))
    conversation.begin()
    conversation.finish("first", ReplyStats("sight", True, 9, 3, 0.1, 50.0, "end"))
    conversation.retry()
    conversation.begin()
    conversation.finish(TYPED, None)
    text = as_markdown(conversation, "My $title$", ("You", "Reply", "Picture"))
    assert text.startswith("# My $title$\n\n**You**\n\n![Picture](data:image/webp;base64,")
    assert text.count(TYPED) == 2 and "first" not in text
    record = json.loads(as_json(conversation, "t"))
    (turn,) = record["turns"]
    assert turn["question"] == turn["reply"] == TYPED and len(turn["pictures"]) == 1
    assert [version["reply"] for version in turn["versions"]] == ["first", TYPED]
    assert turn["versions"][0]["adapter"] == "sight"
