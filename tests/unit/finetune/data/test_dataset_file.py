"""A checked data set comes back from its file as it was, or is refused in words."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save
from tokenizers import Tokenizer as Backend

from demo.errors import DataError
from demo.finetune.data import dataset_file
from demo.finetune.data.columns import recognise
from demo.finetune.data.dataset import CheckSettings, Dataset, check
from demo.finetune.data.dataset_file import load_dataset, save_dataset
from demo.finetune.data.read import read_table
from demo.finetune.data.samples import SAMPLES, load_sample
from demo.llama.tokenizer.tokenizer import Tokenizer, TokenizerFiles, TokenizerSettings
from tests.files import packed, png
from tests.fixtures import CHAT_TEMPLATE

SETTINGS = CheckSettings(window=256, held_out=0.3, seed=1)
ROWS = "question,answer\n" + "".join(f"Say {i} \u2028 “é”,{i * i}\n" for i in range(20))
FAULTY = ROWS + "Say 3 \u2028 “é”,9\nSay 4 \u2028 “é”, 17\nempty,\n"
PICTURES = {
    "data.csv": "image,question,answer\na.png,q,red\nb.png,q,blue\na.png,r,yes\nnone.png,q,x\n",
    "a.png": png(),
    "b.png": png("blue"),
    "spare.png": png("green"),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Backend) -> Tokenizer:
    settings = TokenizerSettings(CHAT_TEMPLATE, bos=None, eos=(2,))
    return Tokenizer(TokenizerFiles(tiny_tokenizer.to_str(), settings))


@pytest.fixture
def again(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Dataset]:
    """Saves a data set and loads it, split as the settings say."""

    def there_and_back(dataset: Dataset, settings: CheckSettings, *files: Path) -> Dataset:
        save_dataset(tmp_path / "kept", dataset, tokenizer)
        return load_dataset(tmp_path / "kept", tokenizer, settings, files)

    return there_and_back


def checked(
    data: bytes | Path, tokenizer: Tokenizer, settings: CheckSettings = SETTINGS
) -> Dataset:
    table = read_table(data)
    return check(table, recognise(table.columns), tokenizer, settings)


def same(one: Dataset, other: Dataset) -> bool:
    return one == other and one.report == other.report and one.fingerprint == other.fingerprint


def test_rows_come_back_as_they_were(tokenizer, again):
    made = checked(FAULTY.encode(), tokenizer)
    assert made.report.refused and made.report.duplicates and made.report.conflicts
    assert made.report.repaired and made.held_out
    assert same(again(made, SETTINGS), made)


@pytest.mark.parametrize("change", [{"seed": 2}, {"held_out": 0.0}, {"held_out": 0.5, "seed": 9}])
def test_they_are_split_anew_as_a_check_would(tokenizer, again, change):
    settings = replace(SETTINGS, **change)
    made = checked(FAULTY.encode(), tokenizer)
    fresh = checked(FAULTY.encode(), tokenizer, settings)
    assert not same(fresh, made) and same(again(made, settings), fresh)


def test_conversations_keep_their_system_prompt_and_what_is_context(tokenizer, again):
    data = b"""[{"messages": [{"role": "system", "content": "s"},
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}]"""
    made = checked(data, tokenizer)
    assert same(again(made, SETTINGS), made)
    assert made.train[0].conversation.system == "s"


def test_pictures_are_read_from_the_zip_or_a_copy(tokenizer, again, tmp_path):
    archive, copy = tmp_path / "data.zip", tmp_path / "copy.zip"
    archive.write_bytes(packed(PICTURES))
    made = checked(archive, tokenizer)
    pixels = [picture.open() for picture in made.pictures]
    archive.rename(copy)
    loaded = again(made, SETTINGS, copy)
    assert same(loaded, made) and len(pixels) == 2
    assert [picture.open() for picture in loaded.pictures] == pixels
    assert loaded.report.unused_pictures == ("spare.png",)
    with pytest.raises(DataError, match="damaged"):
        again(made, SETTINGS)
    copy.write_bytes(b"no zip")
    with pytest.raises(DataError, match="damaged"):
        again(made, SETTINGS, copy)


def test_two_zips_keep_their_own_pictures(tokenizer, again, tmp_path):
    paths = [tmp_path / "learn.zip", tmp_path / "test.zip"]
    paths[0].write_bytes(packed(PICTURES))
    paths[1].write_bytes(packed({**PICTURES, "a.png": png("black")}))
    tables = [read_table(path, path.name) for path in paths]
    layout = recognise(tables[0].columns)
    made = check(tables[0], layout, tokenizer, SETTINGS, held_out=tables[1])
    loaded = again(made, SETTINGS, *paths)
    assert same(loaded, made)
    assert [p.open() for p in loaded.pictures] == [p.open() for p in made.pictures]
    assert len(made.pictures) == 3


def test_samples_need_no_file(tokenizer, again, monkeypatch):
    for name in SAMPLES:
        table = load_sample(name)
        table = replace(table, rows=table.rows[::500] if name == "easy-vqa" else table.rows)
        made = check(table, recognise(table.columns), tokenizer, SETTINGS)
        loaded = again(made, SETTINGS)
        assert same(loaded, made)
        if made.pictures:
            assert loaded.pictures[-1].open() == made.pictures[-1].open()


def test_another_model_window_or_version_is_refused(
    tokenizer, tiny_tokenizer, tmp_path, monkeypatch
):
    path = tmp_path / "kept"
    save_dataset(path, checked(ROWS.encode(), tokenizer), tokenizer)
    template = CHAT_TEMPLATE.replace("role }}\n", "role }} ")
    settings = TokenizerSettings(template, bos=None, eos=(2,))
    other = Tokenizer(TokenizerFiles(tiny_tokenizer.to_str(), settings))
    refused = pytest.raises(DataError, match="for another model. Please choose the data again")
    with refused:
        load_dataset(path, other, SETTINGS)
    with refused:
        load_dataset(path, tokenizer, replace(SETTINGS, window=128))
    monkeypatch.setattr(dataset_file, "VERSION", "2")
    with refused:
        load_dataset(path, tokenizer, SETTINGS)


def test_a_damaged_file_is_refused(tokenizer, tmp_path):
    path = tmp_path / "kept"
    save_dataset(path, checked(ROWS.encode(), tokenizer), tokenizer)
    whole = path.read_bytes()
    places = [0, 9, len(whole) // 3, len(whole) // 2, len(whole) - 1]
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places]
    other = {"version": "1", "sha256": "0"}
    foreign = save({"x": np.zeros(3, np.int32)}, {"version": "1"})
    swapped = save(load(whole), other)
    for data in (b"", b"junk" * 50, whole[:-1], whole[:40], foreign, swapped, *flipped):
        path.write_bytes(data)
        with pytest.raises(DataError, match="damaged|another version"):
            load_dataset(path, tokenizer, SETTINGS)
    path.write_bytes(whole)
    load_dataset(path, tokenizer, SETTINGS)
    with pytest.raises(OSError, match="gone"):
        load_dataset(tmp_path / "gone", tokenizer, SETTINGS)


@pytest.mark.matrix("D14")
def test_a_full_disk_leaves_the_last_file(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "kept"
    made = checked(ROWS.encode(), tokenizer)
    save_dataset(path, made, tokenizer)

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_dataset(path, made, tokenizer)
    assert load_dataset(path, tokenizer, SETTINGS) == made
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
