"""How kernels are compiled, and what keeps numba's cache of them true to the sources.

Numba compiles a function again when its own file changes, but not when a file does that it calls
into, so an update of one file could leave a program with halves of two versions.
"""

import hashlib
from pathlib import Path

from demo.files import replace_file

SOURCES = Path(__file__).parent
STAMP = "kernels.sha256"
# A division is always the processor's own: an estimate of it would be taken for some numbers of an
# array and not for others, and a check for zero would keep it from vectors.
_ALWAYS = {"nogil": True, "cache": True, "error_model": "numpy"}
JIT = _ALWAYS | {"fastmath": {"reassoc", "contract", "nsz", "nnan"}}
# As written, but for NaN: what a token gets must not depend on the place in a tile that it has.
LANES_ALIKE = _ALWAYS | {"fastmath": {"nsz", "nnan"}}


def drop_stale(cache: Path, sources: Path = SOURCES) -> bool:
    """Forgets what is compiled in `cache` unless it was from these sources; whether it did.

    To be called before a kernel's first use. A folder that cannot be written is left as it is:
    numba does not write there either.
    """
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        digest.update(path.read_bytes())
    stamp = cache / STAMP
    try:
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return False
        for index in cache.glob("*.nbi"):
            index.unlink(missing_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        with replace_file(stamp) as file:
            file.write_text(digest.hexdigest())
    except OSError:
        return False
    return True
