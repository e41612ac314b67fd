"""The log: no entry is long, no minute has too many, and no visitor's words are in it."""

import io
import logging
from collections.abc import Iterator

import pytest

from demo.errors import InputError
from demo.logs import FORMAT, LONGEST, Bound, Formatter

WORDS = "what a visitor said " * 3


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream, logger = io.StringIO(), logging.Logger("test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(FORMAT))
    handler.addFilter(Bound(3))
    logger.addHandler(handler)
    yield logger, stream


@pytest.mark.parametrize(
    ("error", "kept", "left_out"),
    [
        (ValueError(WORDS), "ValueError", WORDS),
        (KeyError(WORDS), "KeyError", WORDS),
        (OSError(28, "No space left on device", WORDS), "OSError: No space left", WORDS),
        (RuntimeError("out of memory"), "RuntimeError: out of memory", "visitor"),
        (InputError("Ours."), "InputError: Ours.", "visitor"),
    ],
)
@pytest.mark.matrix("M4")
def test_an_error_keeps_its_kind_and_place_and_no_foreign_words(
    written: tuple[logging.Logger, io.StringIO], error: Exception, kept: str, left_out: str
) -> None:
    logger, stream = written
    try:
        try:
            raise error
        except Exception as first:
            raise LookupError(WORDS) from first
    except LookupError:
        logger.exception("a call failed")
    text = stream.getvalue()
    assert kept in text and "LookupError\n" in text and "test_logs.py" in text
    assert left_out not in text


@pytest.mark.matrix("M4")
def test_an_entry_is_cut_and_a_minute_has_so_many(
    written: tuple[logging.Logger, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, stream = written
    clock = [1000.0]
    monkeypatch.setattr("demo.logs.time.monotonic", lambda: clock[0])
    logger.warning("x" * 10**6)
    assert len(stream.getvalue()) < LONGEST + 100
    for _ in range(10):
        logger.warning("again")
    clock[0] += 61
    logger.warning("later")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4 and lines[-1].endswith("later (8 before left out)")
