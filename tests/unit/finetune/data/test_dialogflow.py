"""The export of a Dialogflow agent, as a zip and as a folder."""

import json
from pathlib import Path

from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import NO_LIMITS, Table
from tests.files import packed, refusal


def intent(*messages: object) -> str:
    return json.dumps({"name": "x", "responses": [{"messages": messages}], "webhookUsed": False})


def says(*phrases: list[str]) -> str:
    return json.dumps(
        [{"data": [{"text": part} for part in parts], "isTemplate": False} for parts in phrases]
    )


AGENT = {
    "agent.json": "{}",
    "package.json": "{}",
    "intents/Hours.json": intent(
        {"type": 0, "lang": "en", "speech": ["At nine.", "From nine, $name."]},
        {"type": "0", "lang": "de", "speech": "Um neun."},
        {"type": 1, "lang": "en", "title": "a card"},
    ),
    "intents/Hours_usersays_en.json": says(["When do you ", "open", "?"], ["hours"]),
    "intents/Hours_usersays_de.json": says(["Wann offen?"]),
    "intents/Fallback.json": intent({"type": 0, "lang": "en", "speech": "What?"}),
    "intents/Weather.json": intent(),
    "intents/Weather_usersays_en.json": says(["rain?"]),
}


def taught(table: Table) -> list[str]:
    layout = recognise_table(table)
    assert layout
    found = (read_row(row, layout).exchanges[0] for row in table.rows)
    return [f"{turn.question} > {turn.reply}" for turn in found]


def test_phrases_get_the_replies_of_their_language() -> None:
    table = read_table(packed(AGENT))
    assert sorted(taught(table)) == [
        "Wann offen? > Um neun.", "When do you open? > At nine.", "hours > At nine.",
    ]  # fmt: skip
    assert "“2 intents without phrases, or without a text to reply with”" in "".join(table.notes)


def test_an_unpacked_export(tmp_path: Path) -> None:
    for name, text in AGENT.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    assert len(taught(read_table(tmp_path, "agent", NO_LIMITS))) == 3


def test_an_agent_without_texts_is_refused_in_words() -> None:
    bare = {name: text for name, text in AGENT.items() if "Hours" not in name}
    assert "made of what people say" in refusal(packed(bare))


def test_one_file_of_an_export_is_called_that() -> None:
    assert "one file of a Dialogflow agent" in refusal(AGENT["intents/Hours.json"].encode())
    table = read_table(AGENT["intents/Hours_usersays_en.json"].encode())
    assert recognise_table(table) is None
    assert "one file of a Dialogflow agent" in why_unknown(table.columns)
