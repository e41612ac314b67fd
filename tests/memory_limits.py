"""Processes in a control group of their own that has only so much memory."""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def limited(megabytes: int) -> Iterator[list[str]]:
    """Give the words before a command that let it have so much; skips where nothing can.

    Swap is not counted: a machine with some may take more.
    """
    if Path("/run/systemd/system").is_dir() and shutil.which("systemd-run"):
        user = [] if os.geteuid() == 0 else ["--user"]
        bounds = ["-p", f"MemoryMax={megabytes}M", "-p", "MemorySwapMax=0"]
        yield ["systemd-run", *user, "--scope", "--quiet", *bounds]
        return
    group = _group(megabytes)
    enter = f'echo $$ > "{group}/cgroup.procs" && exec "$@"'
    try:
        yield ["sh", "-c", enter, "sh"]
    finally:
        for _ in range(100):  # until the last process in it is gone
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def _group(megabytes: int) -> Path:
    """Make a group, of the first or second kind."""
    kinds = ((GROUPS / "memory", "memory.limit_in_bytes"), (GROUPS, "memory.max"))
    for top, limit in kinds if sys.platform == "linux" else ():
        group = top / f"studio-{secrets.token_hex(4)}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / limit).exists():
            (group / limit).write_text(str(megabytes * 2**20))
            return group
        group.rmdir()
    pytest.skip("no memory limit can be set here: there is neither systemd nor a group to make")
