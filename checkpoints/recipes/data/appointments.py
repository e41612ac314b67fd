"""Write the sample `event-json`: a sentence about an appointment → who, day and time as JSON.

    python -m checkpoints.recipes.data.appointments --out assets/datasets/event-json.jsonl

Every sentence names one person, one weekday and one time, so it has exactly one right answer; the
rules stand in `assets/datasets/README.md`. Test rows have words that the training rows have too, in
new company: a time's wording is never new, the sentence always is, and every other name is.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo.atomic_file import replace_file

TRAINING, TEST = 400, 60
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = """
Maria Tom Aisha Daniel Yuki Priya Carlos Emma Omar Ingrid Lucas Fatima Noah Chloe Viktor Amara Ben
Sofia Hassan Julia Peter Leila Marcus Hannah Diego Olga Samuel Nina Ravi Grace Felix Mei Andre Clara
Jamal Eva Simon Zoe Pablo Ruth Kofi Anna Leo Tara Hugo Iris Martin Paula Adam Rosa
"""
NEW_NAMES = "Oscar Bianca Kenji Laura Theo Nadia Elena Idris Greta Miguel Alice Bruno"
SURNAMES = ("Patel", "Weber", "Novak", "Garcia", "Okafor", "Brown", "Tanaka", "Moreau", "Silva")
TITLES = ("Dr.", "Mrs.", "Mr.")
TITLED = 0.15  # of the people

# Person, day and time stand once in each, in any order.
SENTENCES = (
    "Lunch with {who} on {day} at {time}.",
    "Meeting with {who} on {day} at {time}.",
    "Call {who} on {day} at {time}.",
    "I have a dentist appointment with {who} on {day} at {time}.",
    "{who} is coming over on {day} at {time}.",
    "On {day} at {time} I am meeting {who} for coffee.",
    "Please book a room for me and {who} on {day} at {time}.",
    "{day} at {time}: budget review with {who}.",
    "Could you remind me to ring {who} on {day} at {time}?",
    "{who} wants to see me on {day} at {time}.",
    "Piano lesson with {who}, {day}, {time}.",
    "Dinner at the Italian place with {who} this {day} at {time}.",
    "Don't forget: {who} picks up the keys on {day} at {time}.",
    "The interview with {who} is on {day} at {time}.",
    "At {time} on {day} we are having a video call with {who}.",
    "Next {day} at {time} I'm playing tennis with {who}.",
    "Put {who} in my calendar for {day} at {time}.",
    "My train leaves on {day} at {time}, and {who} is coming along.",
    "{who} asked whether {day} at {time} works, and I said yes.",
    "Walk the dog together with {who} on {day} at {time}.",
    "We agreed on {day} at {time} for the project talk with {who}.",
    "See {who} about the contract, {day} {time}.",
    "Haircut with {who} next {day} at {time}.",
    "Let's meet {who} at the station on {day} at {time}.",
    "There is a parents' evening with {who} on {day} at {time}.",
    "{who} has invited us to a barbecue this {day} at {time}.",
    "The plumber, {who}, will be here on {day} at {time}.",
    "Schedule a check-up with {who} for {time} on {day}.",
    "Yoga with {who} is at {time} this {day}.",
    "I promised {who} to help with the move on {day} at {time}.",
)


def times() -> list[tuple[str, str]]:
    """Return every wording of a time, and how it is written: hour, minutes, am or pm."""
    found = [("noon", "12:00 pm")]
    for half, hours in (("am", range(7, 12)), ("pm", range(1, 10))):
        for hour in hours:
            found.append((f"{hour} {half}", f"{hour}:00 {half}"))
            found += [(f"{hour}:{m} {half}", f"{hour}:{m} {half}") for m in (15, 30, 45)]
    for hour, word in enumerate(("eight", "nine", "ten", "eleven"), 8):
        found.append((f"{word} in the morning", f"{hour}:00 am"))
        found.append((f"half past {word} in the morning", f"{hour}:30 am"))
    for hour, word in enumerate(("one", "two", "three", "four", "five"), 1):
        found.append((f"{word} in the afternoon", f"{hour}:00 pm"))
        found.append((f"half past {word} in the afternoon", f"{hour}:30 pm"))
    for hour, word in enumerate(("six", "seven", "eight"), 6):
        found.append((f"{word} in the evening", f"{hour}:00 pm"))
    return found


def rows(seed: int) -> list[dict[str, str]]:
    """Return all rows, those to learn first; the same seed gives the same rows."""
    chance = random.Random(seed)
    names, new = NAMES.split(), NEW_NAMES.split()
    learned = list(_draw(chance, TRAINING, names))
    known = {row["prompt"] for row in learned}
    fresh = _draw(chance, 2 * TEST, names * len(new) + new * len(names))
    judged = [row for row in fresh if row["prompt"] not in known][:TEST]
    return [{**row, "split": "train"} for row in learned] + [
        {**row, "split": "test"} for row in judged
    ]


def _draw(chance: random.Random, count: int, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield different rows in which days, times and sentences are equally frequent."""
    seen: set[str] = set()
    columns = [_endless(chance, values) for values in (SENTENCES, DAYS, times())]
    while len(seen) < count:
        sentence, day, (wording, clock) = (next(column) for column in columns)
        who = chance.choice(names)
        if chance.random() < TITLED:
            who = f"{chance.choice(TITLES)} {chance.choice(SURNAMES)}"
        said = sentence.format(who=who, day=day, time=wording)
        if said not in seen:
            seen.add(said)
            yield {"prompt": said, "response": json.dumps({"who": who, "day": day, "time": clock})}


def _endless(chance: random.Random, values: Sequence) -> Iterator:
    """Yield the values in a new order each time round."""
    while True:
        yield from chance.sample(values, len(values))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m checkpoints.recipes.data.appointments", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with replace_file(given.out) as path:
        lines = (json.dumps(row, ensure_ascii=False) for row in rows(given.seed))
        path.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
