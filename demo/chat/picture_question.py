"""Whether a message asks about a picture: a base that is shown none would make one up.

Only what points at a picture counts: "What is in this picture?", "describe the photo"; and, where
nothing was said before, what points at a thing: "name this", "What animal is that?". A picture that
the chat has spoken of ("Who painted the picture?") is none that could have been attached.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from demo.adapter.library import RESERVED
from demo.errors import InputError

if TYPE_CHECKING:
    from demo.chat.conversation import Conversation

PICTURE = r"(?:picture|photo(?:graph)?|image|pic|snapshot|video|clip)s?"
THIS = rf"(?:this|these|that|the|my|the attached|the following|attached) {PICTURE}"
END = (
    r"(?: (?:here|above|below|please|to me|for me|i sent(?: you)?|in (?:a|one|two) \w+))*[\s?.!]*$"
)
POLITE = r"^(?:please |pls |plz |can you |could you |would you |hey |hi |ok(?:ay)? |now |so )*"
ASKED = tuple(
    re.compile(pattern)
    for pattern in (
        # What stands in it, whatever is asked: "is there a dog in the photo?"
        rf"^(?:.* )?(?:in|on|from|about|at) {THIS}{END}",
        rf"{POLITE}(?:describe|caption|explain|identify|show|read|name|title) {THIS}{END}",
        rf"{POLITE}(?:write|give)(?: me)? a (?:caption|title) (?:for|to|of) {THIS}{END}",
        rf"^what (?:does|do|can|is|are) {THIS}(?: (?:show|display|depict|say|of|about))?{END}",
        rf"^what (?:is|are) (?:shown|seen|visible|displayed|pictured) (?:in|on) {THIS}{END}",
        rf"^(?:who|what|where|how|when|which|is|are|do|does|can|could) .*\b(?:in|on) {THIS}\b",
        rf"^(?:who|what|where|how|when|which|is|are|was|were|does|has) .*\bthis {PICTURE}\b",
        rf"{POLITE}look at {THIS}\b",
        rf"^(?:what|who|whom) (?:do|can) you see{END}",
    )
)
SHOWN = (
    r"(?:things?|objects?|items?|animals?|creatures?|birds?|fish|insects?|bugs?|dogs?|cats?|plants?"
    r"|flowers?|trees?|fruits?|vegetables?|foods?|dish|vehicles?|cars?|buildings?|person|man|woman"
    r"|guy|breed|species)"
)
IT = rf"(?:this|that|these|those|it)(?: {SHOWN})?(?: (?:called|named))?"
# "Is this a …?" of what is said, not shown, and of who replies.
SAID = (
    r"(?:joke|test|scam|bug|problem|question|trick|lie|game|dream|chat|story|poem|secret|spam|virus|"
    r"demo|mistake|typo|word|name|number|fact|myth|fraud|rumou?r|real|true|good|bad|right|wrong|great"
    r"|nice|fair|big|new|free|safe|valid|legal|correct|common|normal|human|person|bot|robot|machine"
    r"|program|computer|model|language|ai|api|app|website|service|sentence|kind|conversation|crime"
    r"|sin|must|requirement|coincidence|possibility|recording|holiday|day|lot|time|way|fun|chatbot"
    r"|\w+ (?:bot|idea|day|time|question|person|human|way|word|sentence|number|model|chatbot))s?"
)
ONES = r"(?:this|that|it|these|those)"
KIND = rf"(?:(?:kind|sort|type|breed|species)s? of )?{SHOWN}"
BEGUN = tuple(  # with these words a chat begins
    re.compile(pattern)
    for pattern in (
        rf"{POLITE}(?:tell me )?(?:what|who)(?: or what)? (?:is|are) {IT}{END}",
        rf"{POLITE}(?:tell me )?(?:what|who) (?:this|that|it) is{END}",
        rf"{POLITE}(?:what|which) {KIND} (?:is|are|do you see|can you see)(?: {IT})?{END}",
        rf"{POLITE}(?:what|who) (?:am i|are we|are you) (?:looking at|seeing){END}",
        rf"{POLITE}(?:name|identify|describe|recogni[sz]e|caption) {IT}{END}",
        rf"{POLITE}(?:is {ONES} an?|are (?:these|those)(?: an?)?) (?!{SAID}\b)(?:\w+ )?\w+{END}",
        rf"{POLITE}(?:is|are) (?:this|that|these|those) {SHOWN} (?:\w+ )?\w+{END}",
        rf"{POLITE}what colou?r (?:is|are) {ONES}(?: {SHOWN})?{END}",
        rf"{POLITE}how many (?:\w+ )?\w+ (?:do|can) you see{END}",
    )
)
MENTIONED = re.compile(rf"\b(?:{PICTURE}|painting|film|movie)\b")
WRITTEN_AS_ONE = re.compile(r"(\w)['’]s |\b(what|who)s ")
MOST = 200  # characters of a question; more is a text to read
NOTHING_SHOWN = (
    "No picture is attached, and this asks about one. Please add a picture or video to the "
    "message, or ask about something else."
)


def asks_about_picture(text: str) -> bool:
    """Say whether a message can only be answered by looking at a picture."""
    return _matches(text, ASKED)


def asks_about_thing(text: str) -> bool:
    """Say whether a message that begins a chat can only be answered by looking at something."""
    return _matches(text, BEGUN)


def _matches(text: str, patterns: tuple[re.Pattern[str], ...]) -> bool:
    low = WRITTEN_AS_ONE.sub(r"\1\2 is ", text.lower())
    plain = " ".join(low.replace(",", " ").split())
    return len(plain) <= MOST and any(pattern.search(plain) for pattern in patterns)


def refuse_unshown(text: str, conversation: Conversation, adapter: str) -> None:
    """Refuse a question about a picture where none is in use.

    An adapter that was chosen by name may know what is meant.

    Raises:
        InputError: there is nothing to look at.
    """
    if conversation.picture is not None or adapter not in RESERVED:
        return
    told = (turn for turn in conversation.turns if turn.picture is None)
    if any(MENTIONED.search(f"{turn.text} {turn.reply}".lower()) for turn in told):
        return
    if asks_about_picture(text) or (not conversation.turns and asks_about_thing(text)):
        raise InputError(NOTHING_SHOWN)
