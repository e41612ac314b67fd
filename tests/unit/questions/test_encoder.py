"""The shipped sentence encoder: what means alike is near, and a damaged file is refused."""

import shutil

import numpy as np
import pytest
import torch

from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER, SentenceEncoder


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_texts_of_like_meaning_are_near(encoder):
    threads = torch.get_num_threads()
    one, same, other = encoder.encode(["Can I bring my dog?", "are pets allowed", "It is 5 euros."])
    assert torch.get_num_threads() == threads
    assert one @ same > 0.5 > one @ other
    assert torch.allclose(torch.stack([one, same, other]).norm(dim=1), torch.ones(3))


def test_a_text_is_the_same_in_any_company(encoder):
    texts = ["", "a", "你好吗?", "how much is it " * 40]
    together = encoder.encode(texts)
    alone = torch.cat([encoder.encode([text]) for text in texts])
    assert together.isfinite().all() and torch.allclose(together, alone, atol=1e-5)
    assert encoder.encode([]).shape == (0, encoder.width)


def test_a_word_by_itself(encoder):
    loaf, bread, bicycle = (encoder.word(word) for word in ("loaf", "bread", "bicycle"))
    assert loaf @ bread > loaf @ bicycle and np.isclose(np.linalg.norm(loaf), 1)
    assert not encoder.word("").any()


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="missing or damaged"):
        SentenceEncoder(tmp_path)
    for name in ("encoder.safetensors", "tokenizer.json"):
        folder = tmp_path / name
        shutil.copytree(FOLDER, folder)
        (folder / name).write_bytes((folder / name).read_bytes()[:1000])
        with pytest.raises(CheckpointError, match="damaged"):
            SentenceEncoder(folder)
