"""Chinese questions that differ in courtesy and common words alone."""

import pytest

from demo.questions.chinese import MOST_READ, plain_chinese


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("您是哪位？", "你是谁"),
        ("你到底是谁啊", "你是谁？"),
        ("请问你叫啥名字", "你好呀，你叫什么名字呀"),
        ("我该怎么称呼你呢", "你叫什么？"),
        ("你们有没有停车位？", "您们有停车位吗"),
        ("可不可以刷卡", "请问能刷卡么？"),
        ("贵店几点钟开门", "你们几点开门呢"),
        ("何时开门?", "什么时候开门"),
        ("在哪儿", "在什么地方？"),
    ],
)
def test_what_asks_the_same_has_one_form(one: str, other: str) -> None:
    assert plain_chinese(one) == plain_chinese(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("红茶多少钱", "龙井茶多少钱"),
        ("你是谁", "我是谁"),
        ("有停车位吗", "没有停车位吗"),
        ("几点开门", "几点关门"),
        ("谁是老板", "老板在哪里"),
        ("为什么", "什么"),
        ("周一下午开门吗", "周午开门吗"),
    ],
)
def test_what_asks_for_something_else_has_another(one: str, other: str) -> None:
    assert plain_chinese(one) != plain_chinese(other)


@pytest.mark.parametrize(
    "text", ["", "Who are you?", "12:30", "これは何ですか", "你" * (MOST_READ + 1)]
)
def test_of_other_texts_there_is_none(text: str) -> None:
    assert plain_chinese(text) == ""


def test_a_greeting_alone_stays() -> None:
    assert plain_chinese("您好！") == plain_chinese("你好") == "你好"
