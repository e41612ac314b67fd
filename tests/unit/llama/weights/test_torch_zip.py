"""Pickles that run something when they are opened without care: none does here."""

import json
import zipfile
from pathlib import Path

import pytest

from demo.adapter.foreign import read_foreign
from demo.errors import CheckpointError
from demo.llama.weights.torch_zip import read_torch_zip

# What each calls, with one text, to leave a file or folder called `ran` behind.
CALLS = {
    ("os", "mkdir"): "ran",
    ("posix", "mkdir"): "ran",
    ("os", "system"): "mkdir ran",
    ("builtins", "exec"): "import os; os.mkdir('ran')",
    ("builtins", "eval"): "__import__('os').mkdir('ran')",
    ("subprocess", "getoutput"): "mkdir ran",
    ("pathlib", "Path.mkdir"): "ran",
    ("timeit", "timeit"): "import os; os.path.exists('ran') or os.mkdir('ran')",
    ("torch.serialization", "os.mkdir"): "ran",
    ("numpy.testing._private.utils", "runstring"): "import os; os.mkdir('ran')",
    ("code", "InteractiveInterpreter"): "ran",
}
STYLES = ("global", "stack", "inst", "obj", "newobj", "nested", "garbage", "memo")


def program(module: str, name: str, text: str, style: str) -> bytes:
    """The opcodes of a pickle that calls a function, in one of the ways there are."""
    function = f"c{module}\n{name}\n".encode()
    argument = f"V{text}\n".encode()
    by_name = b"".join(b"\x8c" + bytes((len(part),)) + part.encode() for part in (module, name))
    called = function + b"(" + argument + b"tR"
    return {
        "global": called + b".",
        "stack": b"\x80\x04" + by_name + b"\x93" + argument + b"\x85R.",
        "inst": b"(" + argument + f"i{module}\n{name}\n".encode() + b".",
        "obj": b"(" + function + argument + b"o.",
        "newobj": b"\x80\x02" + function + argument + b"\x85\x81.",
        "nested": b"}(Vmodel\n" + called + b"u.",
        "garbage": called + b"." + b"\xff\x00garbage" * 20,
        "memo": function + b"p0\n0g0\n(" + argument + b"tR.",
    }[style]


def torch_zip(path: Path, pickle: bytes, *, name: str = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, pickle)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return path


@pytest.mark.matrix("A1", "A2")
@pytest.mark.parametrize("style", STYLES)
def test_no_pickle_runs_anything(
    style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, ((module, name), text) in enumerate(CALLS.items()):
        pickle = program(module, name, text, style)
        path = torch_zip(tmp_path / f"{number}.pth", pickle)
        folder = tmp_path / f"peft {number}.zip"
        with zipfile.ZipFile(folder, "w") as file:
            file.write(path, "adapter_model.bin")
            file.writestr("adapter_config.json", json.dumps({"peft_type": "LORA"}))
        for mapped in (True, False):
            with pytest.raises(CheckpointError, match="not a plain PyTorch file"):
                read_torch_zip(path, mapped=mapped)
        with pytest.raises(CheckpointError, match="not a plain PyTorch file"):
            read_foreign(folder)
        assert not Path("ran").exists(), (module, name, style)


@pytest.mark.matrix("A1", "A4")
def test_other_wrappings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle = program("os", "mkdir", "ran", "global")
    path = tmp_path / "some.pth"
    whole = torch_zip(path, pickle).read_bytes()
    flagged = bytearray(whole)
    flagged[6] |= 1  # said to be encrypted, in the first file's own header
    wrong = whole.replace(b"Vran", b"Vrun", 1)  # another sum than the zip has
    for data in (
        pickle,
        b"\x80\x02" + pickle,
        b"7z\xbc\xaf\x27\x1c" + whole,
        whole[:-30],
        bytes(flagged),
        wrong,
        b"",
    ):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="not a plain PyTorch file"):
            read_torch_zip(path, mapped=False)
    torch_zip(path, pickle, name="archive/../../data.pkl")
    with pytest.raises(CheckpointError, match="not a plain PyTorch file"):
        read_torch_zip(path, mapped=False)
    assert not Path("ran").exists()
