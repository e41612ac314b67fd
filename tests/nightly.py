"""What takes too long for every change: `python -m tests.nightly [arguments of pytest]`."""

import sys

import pytest

if __name__ == "__main__":
    marks = ["--nightly", "-m", "nightly", "-n", "0", "-p", "no:cacheprovider"]
    sys.exit(pytest.main([*marks, *sys.argv[1:]]))
