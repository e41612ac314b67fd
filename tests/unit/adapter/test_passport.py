"""The bytes of an adapter's file, damaged in every way, and while somebody else writes them."""

import json
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.adapter.adapter import Adapter, load_adapter, save_adapter
from demo.adapter.config import AdapterSpec
from demo.adapter.passport import MAX_HEADER, Passport, read_name, read_passport
from demo.errors import CheckpointError
from demo.questions.taxonomy import Taxonomy

pytestmark = pytest.mark.usefixtures("one_thread")
EMPTY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec(2, 3, 36, 6))
    path = tmp_path / "small.safetensors"
    save_adapter(adapter, Passport("small", "", "base", "print", adapter.spec), path)
    return path


def test_the_tree_of_kinds_travels_in_the_passport(path: Path) -> None:
    adapter, passport = load_adapter(path)
    tree = Taxonomy(((("ram", "tup"), ("sheep", "animal")), (("ewe",), ("sheep", "animal"))))
    save_adapter(adapter, replace(passport, taxonomy=tree), path)
    assert read_passport(path).taxonomy == tree
    assert "taxonomy" not in passport.to_json()


@pytest.mark.parametrize(
    "kinds", [{"wider": [], "kinds": [[["b"], [7]]]}, {"wider": 1, "kinds": 2}, {"kinds": []}, 5]
)
def test_a_tree_that_cannot_be_is_a_damaged_passport(path: Path, kinds: object) -> None:
    raw = json.loads(read_passport(path).to_json()) | {"taxonomy": kinds}
    with pytest.raises(CheckpointError, match="passport cannot be read"):
        Passport.from_json(json.dumps(raw))


@pytest.mark.matrix("A10", "M3")
def test_no_flipped_bit_is_loaded(path: Path) -> None:
    whole, draw = path.read_bytes(), random.Random(1)
    good = load_adapter(path)[0].state_dict()
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        try:
            adapter, _ = load_adapter(path)
        except CheckpointError:
            refused += 1
        else:  # a letter of "sha256" itself
            assert all(torch.equal(v, good[k]) for k, v in adapter.state_dict().items())
    assert refused > 190


def test_one_changed_number_is_named_as_such(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="'small.safetensors' is not what was saved"):
        load_adapter(path)


def test_files_from_before_the_checksum_are_read(path: Path) -> None:
    passport = read_passport(path)
    save_file(load_file(path), path, metadata={"passport": passport.to_json()})
    assert load_adapter(path)[1] == passport


@pytest.mark.matrix("A12", "M3")
def test_a_file_that_gets_shorter_leaves_what_was_read(path: Path) -> None:
    adapter, _ = load_adapter(path)
    before = {name: value.clone() for name, value in adapter.state_dict().items()}
    if (maps := Path("/proc/self/maps")).exists():  # else the next line would end the process
        assert path.name not in maps.read_text()
    with open(path, "r+b") as file:
        file.truncate(100)
    assert all(torch.equal(value, before[name]) for name, value in adapter.state_dict().items())
    for read in (read_passport, load_adapter):
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            read(path)


@pytest.mark.parametrize(
    ("length", "header", "rest"),
    [
        (MAX_HEADER + 1, b"{}".ljust(MAX_HEADER + 1), 0),
        (2**63, b"{}", 0),
        (2, b"{}", 1),  # a byte too many
        (9, b"{}", 0),
        (0, b"", 0),
        (None, {"a": EMPTY | {"shape": [2], "data_offsets": [0, 8]}}, 4),
        (None, {"a": EMPTY | {"shape": [10**15, 10**15], "data_offsets": [0, 4]}}, 4),
        (None, {"a": EMPTY | {"shape": [1] * 100_000, "data_offsets": [0, 4]}}, 4),
        (None, {"a": EMPTY | {"shape": [-1], "data_offsets": [0, 4]}}, 4),
        (None, {"a": EMPTY | {"shape": [True], "data_offsets": [0, 4]}}, 4),
        (None, {"a": EMPTY | {"data_offsets": [4, 0]}}, 0),
        (None, {"a": EMPTY | {"data_offsets": "04"}}, 0),
        (None, {"a": {"dtype": "F32"}}, 0),
        (None, {"a": 5}, 0),
        (None, {"__metadata__": {"passport": 5}}, 0),
        (None, {"__metadata__": [1]}, 0),
        (None, b'{"a":1,"a":1}', 0),
        (None, b"[" * 200_000, 0),
        (None, b'{"a":' * 50_000, 0),
        (None, b"1" * 5000, 0),
        (None, b"\xff\xfe{}", 0),
    ],
)
@pytest.mark.matrix("A7")
def test_a_header_that_cannot_be_is_refused(
    tmp_path: Path, length: int | None, header: bytes | dict, rest: int
) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)
    with open(path, "ab") as file:
        file.write(bytes(rest))
    for read in (read_passport, load_adapter):
        with pytest.raises(CheckpointError, match="'odd.safetensors' is not a whole safetensors"):
            read(path)


@pytest.mark.matrix("A7")
def test_holes_and_overlaps_between_tensors_are_refused(path: Path) -> None:
    """What safetensors itself measures, in a file whose passport is right."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header["prompts"]["data_offsets"] = header["gate"]["data_offsets"]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(CheckpointError, match=r"is not a whole safetensors|is damaged"):
        load_adapter(path)


def test_equal_adapters_are_equal_files(path: Path) -> None:
    adapter, passport = load_adapter(path)
    files = set()
    for _ in range(8):  # safetensors draws the order of what it is given
        save_adapter(adapter, passport, path)
        files.add(path.read_bytes())
    assert len(files) == 1 and set(load_file(path)) == set(adapter.state_dict())


OTHERS = {
    "a zip, as a .pth is": b"PK\x03\x04" + bytes(200),
    "a pickle": b"\x80\x02}q\x00.",
    "a tar": b"weights".ljust(257, b"\0") + b"ustar\x0000" + bytes(300),
    "gguf": b"GGUF\x03\0\0\0" + bytes(200),
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4'}" + bytes(200),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(200),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "text": b"{}" * 100,
    "nothing": b"",
}


@pytest.mark.matrix("A4")
@pytest.mark.parametrize("data", OTHERS.values(), ids=list(OTHERS))
def test_other_formats_are_refused_by_their_content(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="'weights.safetensors' is not a whole safetensors"):
        load_adapter(path)


def mutated(path: Path, count: int, seed: int) -> None:
    """Load so many damaged copies of an adapter: each is refused in our words, or is it."""
    whole, draw = path.read_bytes(), random.Random(seed)
    good = load_adapter(path)[0].state_dict()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 5)):
            at = draw.randrange(draw.choice((8, header, len(data))))
            kind = draw.randrange(4)
            if kind == 0:
                data[at] = draw.randrange(256)
            elif kind == 1:
                del data[at : at + draw.randrange(1, 9)]
            elif kind == 2:
                data[at:at] = draw.randbytes(draw.randrange(1, 9))
            else:
                data[at:at] = data[at : at + draw.randrange(1, 99)]
            header = min(header, len(data))
        path.write_bytes(data)
        try:
            adapter, _ = load_adapter(path)
        except CheckpointError:
            continue
        assert all(torch.equal(v, good[k]) for k, v in adapter.state_dict().items())


@pytest.mark.matrix("A11")
def test_mutated_files_are_refused_or_whole(path: Path) -> None:
    mutated(path, 200, seed=1)


@pytest.mark.nightly
@pytest.mark.matrix("A11")
@pytest.mark.parametrize("seed", range(10))
def test_very_many_mutated_files(path: Path, seed: int) -> None:
    mutated(path, 10_000, seed)


def test_a_name_is_read_without_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"passport": '{"name": "Pirate", "spec": 5}'})
    assert read_name(file) == "Pirate"
    for text in ("{", "[]", "{}", "[" * 100_000):
        save_file({"x": torch.zeros(1)}, file, {"passport": text})
        with pytest.raises(CheckpointError, match="says no name"):
            read_name(file)
