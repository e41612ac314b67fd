"""How replies of `sight` are judged, and whose pictures *auto* takes."""

import pytest
import torch

from checkpoints.recipes.sight.questions import Known, tower_kinds
from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.bench.sight import (
    auto_choice,
    contradicts,
    holds,
    kinds_by_name,
    names_it,
    plain_reply,
    said_name,
    verdict,
)

PENGUIN = Known(("a king penguin", "a penguin"), "a bird", "an animal")
NAMED = kinds_by_name(tower_kinds())


def test_a_name_is_any_word_for_exactly_it() -> None:
    assert plain_reply("This is a Golden Retriever.") == "golden retriever"
    right = ("This is a penguin.", "a king penguin", "This is a bird, maybe a king penguin.")
    wrong = ("This is a bird.", "a bird, maybe a goose", "This is a penguin, maybe a goose.", "")
    assert all(names_it(reply, PENGUIN) for reply in right)
    assert not any(names_it(reply, PENGUIN) for reply in wrong)
    assert names_it("This is a penguin, not a fruit.", PENGUIN)
    assert said_name("This is a banana (a fruit), so yes.") == "banana"
    assert said_name("A picture of a banana, a fruit.") == "banana"
    assert said_name("A picture of what may be a banana, a fruit.") == "banana"
    assert said_name("A picture of a fruit, maybe a banana.") == "banana"


def test_a_verdict_is_the_last_word() -> None:
    assert verdict("This may be a goose, so probably yes.") is True
    assert verdict("This may be a goose, so probably not.") is False
    assert verdict("This is a knot.") is None


def test_a_contradiction_is_between_words_and_verdict() -> None:
    assert contradicts("This is a banana, so no.", "a fruit", NAMED)
    assert not contradicts("This is a banana, so no.", "a dog", NAMED)
    assert not contradicts("This is a banana (a fruit), so yes.", "a fruit", NAMED)
    assert not contradicts("I can't read text in pictures.", "a fruit", NAMED)
    assert not contradicts("This is a container, maybe a tub, so yes.", "a vat", NAMED)
    assert contradicts("This is a tub, so yes.", "a dog", NAMED)


def test_an_answer_holds_a_word() -> None:
    assert holds("It is a star: the Sun.", "sun|moon") and holds("Butterflies!", "butterfl")
    assert not holds("A sauna. It is hot. The sun is too.", "sun")


def test_auto_is_counted_by_whose_pictures_they_are_like() -> None:
    adapters = []
    for place in (0.0, 10.0):
        made = Adapter(AdapterSpec(1, 2, 8, 2, VisualSpec(6, 4)))
        made.visual.measure(place + torch.randn(50, 6))
        adapters.append(made)
    features = torch.cat([torch.zeros(3, 6), torch.full((1, 6), 10.0)])
    row = auto_choice(*adapters, "made up", features)[0]
    assert (row.median, row.note) == (pytest.approx(75), "4 pictures")
