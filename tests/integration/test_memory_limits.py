"""The least memory that README promises is enough, and less ends in a sentence."""

import re
from pathlib import Path

import pytest

from demo.settings import ROOT
from tests.memory_limits import limited
from tests.serving import READY_SECONDS, Served, start, until
from tests.visitors import Visitor

pytestmark = [pytest.mark.nightly, pytest.mark.page, pytest.mark.matrix("D11")]
APPLE = ROOT / "assets" / "samples" / "apple.png"


def promised() -> int:
    """Megabytes that README says are enough."""
    found = re.search(r"([\d,]+) MB of memory\*\* are enough", (ROOT / "README.md").read_text())
    assert found
    return int(found[1].replace(",", ""))


def begun(before: list[str], folder: Path) -> Served:
    places = [f"--{name}={folder / name}" for name in ("runs", "chats")]
    return start(*places, before=before)


def test_what_is_promised_is_enough_for_words_and_pictures(tmp_path: Path) -> None:
    with limited(promised()) as words:
        served = begun(words, tmp_path)
        try:
            until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
            visitor = Visitor(served.url)
            assert "Paris" in visitor.send("What is the capital of France?")
            for _ in range(3):
                said = visitor.send("What is this?", [visitor.upload("a.png", APPLE.read_bytes())])
                assert "apple" in said.lower()
            visitor.close()
        finally:
            code = served.stop()
        assert code == 0


@pytest.mark.parametrize("share", [0.8, 0.6, 0.45, 0.3, 0.2, 0.1])
def test_less_is_a_sentence(tmp_path: Path, share: float) -> None:
    with limited(int(promised() * share)) as words:
        try:
            served = begun(words, tmp_path)
        except AssertionError as error:  # it ended before there was a page
            assert re.search(r"app\.py: This program needs [\d,]+ MB of memory", str(error))
            assert "Traceback" not in str(error)
            return
        try:
            until(lambda: served.status()["state"] != "loading", READY_SECONDS, served)
            if served.status()["state"] == "ready":  # it makes do with less than is promised
                assert "event: complete" in served.told("chat", message="Hi.", max_new_tokens=5)
            else:
                needs = re.compile(r"needs [\d,]+ MB of memory")  # whoever started it is told soon
                until(lambda: needs.search(served.log.read_text()) is not None, 10, served)
                assert "Traceback" not in served.log.read_text()
        finally:
            code = served.stop()
        assert code == 0
