"""Write `assets/rehearsal.txt`: what the embedded base says by itself, of all kinds of text.

    python -m checkpoints.recipes.data.rehearsal --out assets/rehearsal.txt

An adapter that is taught must leave such text as it is (`demo/finetune/train/loss.py`).
"""

import argparse
from pathlib import Path

import numpy as np

from demo.atomic_file import replace_file
from demo.chat.scheduler import choose
from demo.llama.base import choose_device, load_llama, open_base
from demo.llama.decoder import Decoder, SlotSizes
from demo.settings import Sampling, Settings

TOKENS, SEED = 56, 0
SAMPLING = Sampling(temperature=0.8, top_p=0.95)
OPENINGS = """
The history of the city begins
Once upon a time, in a village by the sea,
The experiment showed that
To make the soup, first
Dear Mr. Collins,
The committee met on Tuesday to
Photosynthesis is the process by which
She closed the door and
In the second half of the match,
The museum holds a collection of
Our hotel was close to the station and
A good teacher knows that
When the temperature of water
He had never seen so many
The law was changed because
Most birds that live in the north
The old bridge across the river
For a healthy breakfast,
The main character of the novel
In mathematics, a prime number
The company announced that
My grandmother used to say that
The engine did not start, so
Children who read a lot
The war ended when
To plant tomatoes, you need
The moon moves around
I was walking through the forest when
The results of the survey suggest
There are three reasons why
The train to the mountains leaves
Music has been part of
"Where have you been?" asked the
The doctor looked at the
In 1912, the ship
The difference between a frog and a toad
Every winter, the lake
The price of coffee
A computer program is
The festival takes place in
The young painter moved to
Sugar, flour and butter
The desert is home to
After the storm, the farmers
The function takes a list and
It is often said that money
The first thing I noticed was
Scientists at the university have
The king had two sons, and
If you want to learn a language,
The library is open from
Iron becomes rusty when
The team played well, but
On a clear night you can see
The letter arrived on
Many people believe that sleep
The road climbs slowly through
The invention of the printing press
She put the coins on the table and
The best way to clean a window
"""


def write(out: Path, settings: Settings) -> None:
    """Continue every opening, some at a time, and write a paragraph for each."""
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), 2 * TOKENS)
    decoder = Decoder(model, SlotSizes(1, 2 * TOKENS, 1), settings.threads)
    paragraphs = []
    for number, opening in enumerate(OPENINGS.strip().splitlines()):
        ids = base.tokenizer.encode_text(opening)
        chance = np.random.default_rng(SEED + number)
        logits = decoder.prefill(0, ids, None)
        while len(ids) < TOKENS:
            ids.append(choose(logits, np.array(ids), SAMPLING, chance))
            logits = decoder.step(np.array(ids[-1:]), np.zeros(1, int), np.array([len(ids) - 1]))[0]
        paragraphs.append(" ".join(base.tokenizer.decode(ids).split()))
    with replace_file(out) as path:
        path.write_text("\n\n".join(paragraphs) + "\n", "utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m checkpoints.recipes.data.rehearsal", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True)
    write(parser.parse_args(arguments).out, Settings())


if __name__ == "__main__":
    main()
