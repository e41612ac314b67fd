"""From a 12-megapixel photo to the first word about it, on `python app.py` from outside."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from demo.bench.client import wait_until_ready
from demo.bench.program import program, wait_for_page
from demo.bench.report import Bar, Report, Row

SIZE = 4000, 3000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench photo`."""
    parser.add_argument("--runs", type=int, default=5, help="photos, none like another")


def run(args: argparse.Namespace) -> Report:
    """Sending the file and reading it are part of the time."""
    with tempfile.TemporaryDirectory() as folder:
        photos = [
            made_up(Path(folder) / f"{number}.jpg", number) for number in range(args.runs + 1)
        ]
        size = photos[0].stat().st_size / 2**20
        seconds = first_words(photos)[1:]
    row = Row("first word about a photo", "s", seconds, f"JPEG of {size:.1f} MB")
    return Report("photo", [row], [Bar("first word about a photo, s", row.median, most=0.7)])


def first_words(photos: list[Path]) -> tuple[float, ...]:
    """Seconds from sending each photo to the first word about it."""
    with program() as (process, url):
        wait_for_page(process, url)
        wait_until_ready(url)
        client = Client(url, verbose=False)
        return tuple(_first_word(client, photo) for photo in photos)


def _first_word(client: Client, photo: Path) -> float:
    start = time.perf_counter()
    picture = handle_file(photo)
    job = client.submit("What is this?", picture, max_new_tokens=8, api_name="/chat")
    next(text for text in job if text)
    seconds = time.perf_counter() - start
    job.result()
    return seconds


def made_up(path: Path, seed: int) -> Path:
    """A photo of nothing, as large as a telephone's: soft colours with fine grain."""
    chance = np.random.default_rng(seed)
    colours = Image.fromarray(chance.integers(0, 256, (12, 16, 3), np.uint8))
    soft = np.asarray(colours.resize(SIZE, Image.Resampling.BICUBIC), np.int16)
    grain = chance.integers(-6, 7, (SIZE[1], SIZE[0], 1), np.int16)
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path
