"""A memory says of a picture what its nearest caption stands for, on a tiny base."""

import random

import torch

from checkpoints.recipes.sight.memory import (
    Captions,
    OracleProjection,
    remember,
    shares_of,
    targets,
)
from checkpoints.recipes.sight.questions import tower_kinds
from checkpoints.recipes.sight.train import (
    ASIDES,
    BESIDE,
    DATA,
    SeenPictures,
    SightRecipe,
    begun_with,
    by_medium,
    coloured,
    examples_of,
    made,
    rehearsed,
    save_with,
)
from demo.adapter.adapter import KeyValueMemory, load_adapter
from demo.adapter.config import VisualSpec
from demo.adapter.passport import Passport
from demo.llama.base import load_llama
from demo.vision.clip import BASIC_COLOURS

KINDS = tower_kinds()[:12]


def captions(size: int = 6) -> Captions:
    torch.manual_seed(0)
    vectors = torch.randn(len(KINDS), size)
    vectors -= vectors.mean(1, keepdim=True)  # as the tower's, whose two constants cancel
    vectors = 50 * torch.nn.functional.normalize(vectors, dim=1)
    statistics = torch.stack([torch.randn(size + 4), 0.5 + torch.rand(size + 4)])
    return Captions(vectors, statistics)


def test_a_picture_at_a_caption_is_told_as_that_kind() -> None:
    seen, said = captions(), torch.randn(len(KINDS), 3, 8)
    spec = VisualSpec(10, 12, "key-value-memory", slots=3, entries=len(KINDS), single_view=True)
    memory = KeyValueMemory(spec, 8)
    remember(memory, seen, said)
    embedded = torch.nn.functional.layer_norm(seen.vectors, seen.vectors.shape[-1:])
    mean, spread = seen.statistics
    features = torch.cat([torch.randn(len(KINDS), 4), embedded], 1)
    found = memory((features - mean) / spread)
    assert torch.equal(memory.logits((features - mean) / spread).argmax(1), torch.arange(12))
    assert found.shape == (12, 3, 8)


def test_looks_are_sure_or_torn_between_rivals() -> None:
    near, generator = captions().rivals(), torch.Generator().manual_seed(0)
    assert near.shape == (12, 11) and not (near == torch.arange(12)[:, None]).any()
    found = [shares_of(3, near, KINDS, generator) for _ in range(200)]
    for shares, sure in found:
        assert float(shares.sum()) == 1 or abs(float(shares.sum()) - 1) < 1e-5
        assert int(shares.argmax()) == 3
        assert sure != "fine" or float(shares[3]) >= 0.4
    assert {sure for _, sure in found} >= {"fine", "unsure"}


def test_a_base_of_another_shape_is_given_sight(small, tmp_path) -> None:
    model = load_llama(small, torch.device("cpu"), 256)
    recipe = SightRecipe(layers=2, hidden=8)
    adapter = made(recipe, small, model, captions(), KINDS)
    features = torch.randn(2, 10 + len(BASIC_COLOURS))
    assert adapter.prefix(model, features).key.isfinite().all()
    file = tmp_path / "before.safetensors"
    passport = Passport(
        "s", "", small.name, small.fingerprint, adapter.spec, "tower", "print", data=DATA
    )
    with torch.no_grad():
        adapter.visual.values.weight += 1
    save_with(adapter.visual, adapter, passport, file)
    again = made(recipe, small, model, captions(), KINDS)
    begun_with(file, again)
    assert torch.equal(again.prompts, adapter.prompts)
    assert torch.allclose(again.visual.values.weight, adapter.visual.values.weight, rtol=0.01)
    assert not adapter.spec.visual.augmented  # a look is enough
    assert targets(model, small.tokenizer, KINDS, 2, 24, 8)[0].shape[0] == 24


def test_a_file_that_was_saved_is_saved_again_as_it_is(small, tmp_path) -> None:
    model = load_llama(small, torch.device("cpu"), 256)
    adapter = made(SightRecipe(layers=2, hidden=8), small, model, captions(), KINDS)
    passport = Passport("s", "", small.name, small.fingerprint, adapter.spec, "tower", "print")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_with(adapter.visual, adapter, passport, first)
    loaded, own = load_adapter(first)
    save_with(loaded.visual, loaded, own, second)
    assert first.read_bytes() == second.read_bytes()


def test_kinds_and_colours_are_told_in_places_of_their_own(small) -> None:
    model = load_llama(small, torch.device("cpu"), 256)
    centre, said = targets(model, small.tokenizer, KINDS, 2, 26, 8, 2)
    assert said.shape == (len(KINDS) + len(BASIC_COLOURS), 26, small.config.width)
    assert not said[: len(KINDS), 24:].any() and not said[len(KINDS) :, :24].any()
    assert centre.shape == said.shape[1:] and said[0, :24].any() and said[-1, 24:].any()


def test_an_oracle_says_what_its_memory_says(small) -> None:
    model = load_llama(small, torch.device("cpu"), 256)
    adapter = made(SightRecipe(layers=2, hidden=8), small, model, captions(), KINDS)
    memory, oracle = adapter.visual, OracleProjection(adapter.visual)
    assert {*oracle.parameters()} == {*memory.values.parameters(), *memory.outer.parameters()}
    with torch.no_grad():  # no share so small that it is taken for the least there is
        memory.keys.weight *= 0.02
        memory.keys.bias *= 0.02
    features = torch.cat([torch.randn(2, 10), torch.eye(len(BASIC_COLOURS))[:2]], 1)
    shares = torch.cat([memory.logits(features).softmax(-1), features[:, 10:]], 1)
    assert torch.allclose(oracle(shares), memory(features), atol=1e-4)


def test_a_colour_is_said_where_most_of_it_is() -> None:
    chance = random.Random(0)
    for _ in range(100):
        shares, own, mostly = coloured(KINDS[0], chance)
        assert abs(float(shares.sum()) - 1) < 1e-5
        assert BASIC_COLOURS[int(shares.argmax())] == own
        assert mostly == (float(shares.max()) >= 0.4)


def test_every_question_has_a_look_of_its_own(small) -> None:
    kinds = tower_kinds()
    vectors = torch.randn(len(kinds), 6)
    seen = Captions(vectors, torch.zeros(2, 10))
    examples, shares = examples_of(small.tokenizer, kinds, seen, 40, 0)
    assert [example.picture for example in examples] == list(range(40))
    assert shares.shape == (40, len(kinds) + len(BASIC_COLOURS))


def test_of_a_real_picture_is_told_what_the_tower_takes_it_for(small) -> None:
    kinds = tower_kinds()
    seen = Captions(torch.randn(len(kinds), 6), torch.zeros(2, 10))
    shares = torch.zeros(1, len(kinds) + len(BASIC_COLOURS))
    shares[0, 1_000], shares[0, len(kinds) + BASIC_COLOURS.index("purple")] = 1, 1
    looks = SeenPictures(shares, ("drawing",))
    examples, seen_shares = examples_of(small.tokenizer, kinds, seen, 60, 0, looks)
    rows = [row for row, share in enumerate(seen_shares) if torch.equal(share, shares[0])]
    said = [small.tokenizer.decode(examples[row].ids) for row in rows]
    assert len(rows) > 5 and any(kinds[1_000].name in text for text in said)
    assert all("mostly" not in text or "mostly purple" in text for text in said)


def test_ordinary_questions_are_asked_beside_pictures_of_all_media(small) -> None:
    kinds = tower_kinds()
    seen = Captions(torch.randn(len(kinds), 6), torch.zeros(2, 10))
    examples, shares = examples_of(small.tokenizer, kinds, seen, 60, 0)
    rows = by_medium(shares, kinds)
    texts = rehearsed(small.tokenizer, ASIDES, rows, 0, examples)
    for row, medium in zip(rows, BESIDE, strict=True):
        assert row and {kinds[int(shares[at, : len(kinds)].argmax())].medium for at in row} == {
            medium
        }
        assert any(text.picture in row for text in texts)
    turns = [text.ids.count(examples[0].ids[0]) for text in texts]
    assert all(len(text.ids) == len(text.labels) for text in texts) and max(turns) > min(turns)


def test_colours_are_told_however_much_more_kinds_differ() -> None:
    spec = VisualSpec(
        10, 16, "key-value-memory", slots=3, entries=len(KINDS), single_view=True,
        attributes=len(BASIC_COLOURS), attribute_slots=1,
    )  # fmt: skip
    memory, said = KeyValueMemory(spec, 8), torch.zeros(len(KINDS) + len(BASIC_COLOURS), 3, 8)
    said[: len(KINDS), :2] = 100 * torch.randn(len(KINDS), 2, 8)
    said[len(KINDS) :, 2] = 0.01 * torch.randn(len(BASIC_COLOURS), 1) * torch.randn(8)
    remember(memory, captions(), said)
    kept = (memory.outer.weight @ memory.values.weight).T.unflatten(1, (3, 8))
    assert torch.allclose(kept[len(KINDS) :, 2], said[len(KINDS) :, 2], atol=1e-4)
    assert not kept[len(KINDS) :, :2].abs().max() > 1e-4
