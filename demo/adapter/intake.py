"""Checks of adapter files from strangers, in a process of its own with bounded memory and time.

    python -m demo.adapter.intake FILE OUT

A `.pth` is a zip with a pickle inside, and even a reader that runs nothing of it is C++ that reads
strangers' bytes. So the process that serves others never opens one: here its tensors are taken out
and written to OUT as safetensors, by the names that they have, with the settings of PEFT's folder.
A file of ours is opened as the chat would open it. What is said on standard output is one line of
JSON: the kind, or what is wrong.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from demo.errors import BusyError, CheckpointError, DemoError

SECONDS, MEMORY = 120, 12 * 2**30  # torch alone maps several GB that it never touches
AT_ONCE = 2
SETTINGS = "settings"  # in the metadata of what is written
ZIP = b"PK\x03\x04"
_PLACES = threading.Semaphore(AT_ONCE)


class Taken(NamedTuple):
    """What a check found: `released` files are safetensors of others' names, the rest is ours.

    `digest` is the sha256 of the file that came.
    """

    released: bool
    digest: str


def check_file(path: Path, out: Path) -> Taken:
    """Check a file in another process.

    Args:
        path: of the file.
        out: where the tensors of a released one are written.

    Raises:
        CheckpointError: it is no adapter, or damaged; the message says what is wrong.
        BusyError: others are being checked.
    """
    if not _PLACES.acquire(timeout=SECONDS):
        raise BusyError("Other files are being checked. Please try again in a minute.")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "demo.adapter.intake", str(path), str(out)],
            capture_output=True, text=True, timeout=2 * SECONDS, check=False,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        told = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise CheckpointError(
            f"'{path.name}' could not be checked within the time and memory that a check may take. "
            "It is damaged, or no adapter."
        ) from error
    finally:
        _PLACES.release()
    if "error" in told:
        raise CheckpointError(told["error"])
    return Taken(told["released"], told["sha256"])


def main(arguments: list[str]) -> int:
    """Check one file, say what was found, and return 0."""
    source, out = map(Path, arguments)
    _limit()
    # torch writes warnings to standard output on some machines; only the last line is read.
    try:
        with source.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        told = {"released": _take(source, out, start == ZIP), "sha256": digest}
    except DemoError as error:
        told = {"error": str(error)}
    except (MemoryError, OSError):
        told = {"error": f"'{source.name}' needs more memory or disk than a check may take."}
    print(json.dumps(told))
    return 0


def _take(source: Path, out: Path, is_zip: bool) -> bool:
    """Check a file; write the tensors of one that is not ours → whether it is such a one."""
    # Imported here, after the limits are set.
    from safetensors.torch import save_file

    from demo.adapter import foreign
    from demo.adapter.adapter import load_adapter
    from demo.adapter.passport import read_header
    from demo.adapter.released import plain_tensors, recognise

    if not is_zip and not foreign.recognise(read_header(source).tensors):
        load_adapter(source)
        return False
    tensors, settings = plain_tensors(source)
    if not recognise(tensors) and not foreign.recognise(tensors):
        raise CheckpointError(
            f"'{source.name}' is no adapter that is known here: neither of this program nor of the "
            "authors of LLaMA-Adapter, of PEFT or of litgpt. Please choose another file."
        )
    said = {SETTINGS: json.dumps(settings)}
    save_file({name: value.clone() for name, value in tensors.items()}, out, said)
    return True


def _limit() -> None:
    with contextlib.suppress(ImportError):  # where there is no such module there are no limits
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
