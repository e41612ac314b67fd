"""Who asks and who replies, by what the speakers of a conversation are called.

Models' data say user and assistant; help desks say customer and agent, clinics patient and nurse,
and plays have names. Where two speak of whom nothing is known, whoever begins asks.
"""

import re
from collections.abc import Callable
from typing import Any

from demo.finetune.data.table import excerpt

SPEAKERS = ("role", "from", "speaker", "sender", "agent")  # keys of a turn that say who speaks
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatgpt"), "assistant"),
}
_REPLYING = (
    "agent support operator advisor representative rep helpdesk staff employee seller clerk host "
    "therapist counselor counsellor doctor nurse teacher tutor wizard sys chatbot ai llm "
    "kundenservice mitarbeiter berater agente asesor conseiller 客服 助手"
)
_ASKING = (
    "customer client caller visitor guest patient student learner buyer shopper consumer usr kunde "
    "kundin cliente 用户 客户"
)
REPLYING, ASKING = frozenset(_REPLYING.split()), frozenset(_ASKING.split())
# Programs that speak in a conversation: what they say cannot be taught.
PROGRAMS = ("tool", "function", "observation", "ipython", "environment", "interpreter", "api")
ALONE = "turns of the system are replies here, as nobody else replies"
NAMED = "“{user}” asks and “{other}” replies"


def role_of(speaker: Any) -> str | None:
    """Return the role that a word stands for, with a number or without; None for a name.

    Args:
        speaker: who speaks, as the data say it; anything but a text has no role.
    """
    if not isinstance(speaker, str):
        return None
    word = re.sub(r"[\W_]*\d*[\W_]*$", "", re.sub(r"[\s_-]+", "", speaker.strip().casefold()))
    if word in REPLYING:
        return "assistant"
    return "user" if word in ASKING else ROLES.get(word)


def with_roles(turns: list[Any], note: Callable[[str], None]) -> list[Any]:
    """Return turns of which each speaker has a role, where it can be told who replies.

    The system does where it replies and nobody else (MultiWOZ, SGD). Where one of two is known,
    the other has the other role; where neither is, whoever begins asks.

    Args:
        turns: values of JSON; where one is no object, they come back as they are.
        note: hears how speakers were understood.
    """
    if not all(isinstance(turn, dict) for turn in turns):
        return turns
    said = [next((turn[key] for key in SPEAKERS if key in turn), None) for turn in turns]
    roles = [role_of(speaker) for speaker in said]
    first = roles.index("user") if "user" in roles else len(roles)
    if "assistant" not in roles and roles[first:].count("system") > 1:
        note(ALONE)
        return [
            _spoken(turn, "assistant") if at > first and roles[at] == "system" else turn
            for at, turn in enumerate(turns)
        ]
    named = _named(said, roles)
    if named is None:
        return turns
    user, other = named
    note(NAMED.format(user=excerpt(user), other=excerpt(other)))
    given = {user: "user", other: "assistant"}
    return [
        _spoken(turn, given[speaker]) if speaker in given else turn
        for turn, speaker in zip(turns, said, strict=True)
    ]


def _named(said: list[Any], roles: list[str | None]) -> tuple[str, str] | None:
    """Tell who asks and who replies of two, whose roles are not told by both names; else None."""
    if not all(isinstance(speaker, str) for speaker in said):
        return None
    people = list(dict.fromkeys(s for s, role in zip(said, roles, strict=True) if role != "system"))
    if len(people) != 2 or any(person.strip().casefold() in PROGRAMS for person in people):
        return None
    one, two = map(role_of, people)
    if one is not None and two is not None and one != two:  # agent_1 and agent_2 are names
        return None
    swapped = one != two and (one == "assistant" or two == "user")
    return (people[1], people[0]) if swapped else (people[0], people[1])


def _spoken(turn: dict[str, Any], role: str) -> dict[str, Any]:
    """Return a turn whose speaker is called by a role."""
    return {**turn, next(key for key in SPEAKERS if key in turn): role}
