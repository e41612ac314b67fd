"""Plain text in which each line says who speaks, `Q: …` and `A: …` → a table of conversations.

Two names stand before colons, and one of them is known to ask or to answer, or who speaks first
asks. A blank line, a rule or another model's mark begins a new conversation; where questions are
called Q, each begins one.
"""

import re
from collections import Counter

from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder, excerpt

LINE = re.compile(
    r"[ \t]*\**[(\[<]?([^\W\d_][\w .'-]{0,24}?)[)\]>]?"  # (user): and <user>: too
    r"[ \t]?\**[:：]\**(?:[ \t]+|(?=[^\s/\d]))(\S.*)"
)
BREAK = re.compile(r"\s*(?:<\|endoftext\|>|</s>|[-=*_#]{3,})\s*")
ASKING = (
    *("user", "human", "customer", "client", "you", "me", "student", "patient", "a person"),
    *("человек", "пользователь", "клиент", "benutzer", "nutzer", "kunde", "usuario", "usuário"),
    *("cliente", "utilisateur", "utente", "用户", "顾客", "客户", "ユーザー", "사용자"),
)
QUESTIONS = ("q", "question", "frage", "pregunta", "pergunta", "domanda", "вопрос", "问", "问题")
ANSWERING = (
    *("bot", "assistant", "ai", "agent", "chatbot", "support", "system"),
    *("a", "answer", "reply", "response"),
    *("antwort", "respuesta", "resposta", "risposta", "ответ", "答", "答案"),
    *("бот", "ассистент", "оператор", "assistent", "asistente", "assistente", "助手", "客服"),
    *("アシスタント", "봇", "어시스턴트"),
)
DOTTED = re.compile(r"\s*\**([QA])\**[.)]\**\s+(\S.*)")  # **Q**. and **A**.
NUMBERED = re.compile(r"(q|a|question|answer)\s?\d{1,3}", re.IGNORECASE)  # Q1, A1
FEWEST = 3  # times that each of them speaks, where only one name is known
LONGEST = 32  # turns of a conversation; a longer one is cut before a question
LOOKED_AT = 50_000  # characters by which the speakers are found
NOTE = "“{user}” asks and “{other}” replies: the text is read as {count:,} conversations."
ASIDE = "{count:,} lines before the first speaker are left out."
KNOWN = frozenset((*ASKING, *QUESTIONS, *ANSWERING))


def speakers(text: str) -> tuple[str, str] | None:
    """Find who asks and who replies in a transcript; None where the text is none."""
    lines = [line for line in text[:LOOKED_AT].splitlines() if line.strip()]
    found = [match for line in lines if (match := _spoken(line))]
    names = Counter(map(_name, found))
    common = names.most_common(3)
    if any(re.match(r"\s*B[.)]\s", line) for line in lines) and not any(map(LINE.match, lines)):
        return None  # lettered options
    if len(common) < 2:
        return None
    sure = _both_known(common[0][0], common[1][0])
    begins = next(line for line in lines if not (sure and line.startswith("#")))  # below a title
    if _spoken(begins) is None:
        return None
    talk = sure or _is_talk(found, lines)
    if common[1][1] < FEWEST and not talk:
        return None
    (one, many), (two, some) = common[:2]
    others = sum(names.values()) - many - some
    if many > 2 * some or others * (4 if sure else 10) > many + some or 2 * len(found) < len(lines):
        return None
    known = {name for name in (one, two) if name.casefold() in KNOWN}
    if not known and not talk:
        return None
    first = next(name for name in map(_name, found) if name in (one, two))
    asking = (*ASKING, *QUESTIONS)
    user = next((name for name in (one, two) if name.casefold() in asking), first)
    return user, two if user == one else one


def _spoken(line: str) -> re.Match[str] | None:
    """Read a line that says who speaks."""
    return LINE.match(line) or DOTTED.match(line)


def _name(match: re.Match[str]) -> str:
    """Give the name of who speaks, without the number of a question."""
    name = match[1].strip()
    numbered = NUMBERED.fullmatch(name)
    return numbered[1] if numbered else name


def _is_talk(found: list[re.Match[str]], lines: list[str]) -> bool:
    """Tell whether two whose names are not known talk, and play no play: all lines are theirs.

    One asks in half of what they say, or the names differ by a number or letter: Speaker 1, 2.
    """
    names = Counter(map(_name, found))
    if len(names) != 2 or min(names.values()) < 2 or len(found) < len(lines):
        return False
    asked = [match[2].rstrip().endswith("?") for match in found if _name(match) == _name(found[0])]
    stems = {re.sub(r"(?:\d+|\b[A-Z])$", "#", name) for name in names}
    return 2 * sum(asked) >= len(asked) or (len(stems) == 1 and stems.pop().endswith("#"))


def _both_known(one: str, two: str) -> bool:
    """Tell whether one of two names is known to ask and the other to answer."""
    asks, replies = (*ASKING, *QUESTIONS), ANSWERING
    pair = one.casefold(), two.casefold()
    return any(a in asks and b in replies for a, b in (pair, pair[::-1]))


def read_transcript(
    text: str, name: str, who: tuple[str, str], limits: DataLimits = LIMITS
) -> Table:
    """Read what two speakers say as conversations, a row each.

    Args:
        text: of the file.
        name: of the table.
        who: the name of the one who asks, and of the one who replies.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    talks = _talks(text, who)
    note = NOTE.format(user=excerpt(who[0]), other=excerpt(who[1]), count=len(talks))
    lines = [line for line in text.splitlines() if line.strip()]
    aside = next(at for at, line in enumerate(lines) if _spoken(line))
    notes = [note, *([ASIDE.format(count=aside)] if aside else ())]
    table = TableBuilder(name, columns=["messages"], counted="item", notes=notes, limits=limits)
    for number, turns in enumerate(talks, 1):
        table.add(number, {"messages": turns})
    return table.build()


def _talks(text: str, who: tuple[str, str]) -> list[list[dict[str, str]]]:
    """Cut a transcript into conversations of turns."""
    user, _ = who
    pairs = user.casefold() in QUESTIONS
    talks: list[list[dict[str, str]]] = [[]]
    gap = False  # since the last turn
    for line in text.splitlines():
        if not line.strip() or BREAK.fullmatch(line):
            gap = True
            continue
        match = _spoken(line)
        speaker = _name(match) if match else ""
        turns = talks[-1]
        if match is None or speaker not in who:
            if turns:
                turns[-1]["content"] += ("\n\n" if gap else "\n") + line.strip()
            gap = False
            continue
        role = "user" if speaker == user else "assistant"
        begins = role == "user" and bool(turns) and turns[-1]["role"] == "assistant"
        if begins and (gap or pairs or len(turns) >= LONGEST):
            turns = []
            talks.append(turns)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n" + match[2].strip()
        else:
            turns.append({"role": role, "content": match[2].strip()})
        gap = False
    return [turns for turns in talks if turns]
