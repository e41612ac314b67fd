"""Who asks and who replies, by what speakers are called."""

import pytest

from demo.finetune.data.roles import role_of, with_roles


def turns(*speakers: object) -> list[dict[str, object]]:
    return [{"role": speaker, "content": str(at)} for at, speaker in enumerate(speakers)]


def heard(*speakers: object) -> tuple[list[object], list[str]]:
    notes: list[str] = []
    found = with_roles(turns(*speakers), notes.append)
    assert [turn["content"] for turn in found] == [*map(str, range(len(speakers)))]
    return [turn["role"] for turn in found], notes


@pytest.mark.parametrize(
    ("speaker", "role"),
    [
        ("User", "user"), ("customer 2", "user"), ("patient", "user"), ("客户", "user"),
        ("GPT", "assistant"), ("agent_1", "assistant"), ("Nurse", "assistant"),
        ("developer", "system"), ("Anna", None), ("tool", None), (2, None), (None, None),
    ],
)  # fmt: skip
def test_a_word_stands_for_a_role(speaker: object, role: str | None) -> None:
    assert role_of(speaker) == role


def test_of_two_names_whoever_begins_asks() -> None:
    roles, notes = heard("system", "Romeo", "Juliet", "Romeo")
    assert roles == ["system", "user", "assistant", "user"]
    assert notes == ["“Romeo” asks and “Juliet” replies"]


def test_beside_a_known_one_the_other_has_the_other_role() -> None:
    assert heard("user", "Aria", "user", "Aria")[0] == ["user", "assistant", "user", "assistant"]
    assert heard("Tom", "assistant")[0] == ["user", "assistant"]
    assert heard("Yu", "customer")[0] == ["assistant", "user"]


def test_what_programs_say_and_three_people_stay_as_they_are() -> None:
    for speakers in (("user", "tool"), ("user", "Function", "user"), ("A", "B", "C"), ("A", 3)):
        assert heard(*speakers) == ([*speakers], [])
    assert with_roles(["Hi", "Ho"], print) == ["Hi", "Ho"]


def test_the_system_replies_where_nobody_else_does() -> None:
    roles, notes = heard("user", "system", "user", "system")
    assert roles == ["user", "assistant", "user", "assistant"]
    assert notes == ["turns of the system are replies here, as nobody else replies"]


def test_two_agents_with_numbers_are_two_names() -> None:
    turns = [{"agent": f"agent_{n % 2 + 1}", "message": str(n)} for n in range(4)]
    notes: list[str] = []
    assert [turn["agent"] for turn in with_roles(turns, notes.append)] == [
        *("user", "assistant", "user", "assistant")
    ]
    assert "agent_1" in notes[0]
