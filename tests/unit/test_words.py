"""The tokenizer of a tower's own words, read back as open_clip reads it."""

import json
from pathlib import Path

import pytest

from demo.recipes.words import write_tokenizer
from tests.unit.test_lesson import CONFIG

SAID = ("a king penguin", "a picture of a T-shirt", "this is a bird")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = {"context_length": 7, "vocab_size": 16, "hf_tokenizer_name": "words"}
    model = CONFIG["model_cfg"] | {"text_cfg": CONFIG["model_cfg"]["text_cfg"] | text}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(CONFIG | {"model_cfg": model}))
    return tmp_path


def test_open_clip_reads_it(folder: Path) -> None:
    import open_clip

    write_tokenizer(folder, SAID, 16, 7)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    penguin, shirt, strange = tokenize(["A king penguin", "a t-shirt", "a zebra"]).tolist()
    words = sorted({word for text in SAID for word in text.lower().split()})
    number = {word: at for at, word in enumerate(words, 2)}
    assert penguin == [number["a"], number["king"], number["penguin"], 15, 0, 0, 0]
    assert shirt[:3] == [number["a"], number["t-shirt"], 15]
    assert strange[:3] == [number["a"], 1, 15]
    long = tokenize("this is a picture of a king penguin").tolist()[0]
    assert (len(long), long[-1]) == (7, 15)  # cut, and still closed


def test_too_many_words_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="the captions have 9 words"):
        write_tokenizer(folder, SAID, 11, 7)
    assert not (folder / "tokenizer.json").exists()
