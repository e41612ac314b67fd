"""Ordinary questions, and what the base by itself answers: `sight` must answer them no other way.

    python -m checkpoints.recipes.sight.talk --out FILE

writes lines of a question, a tab and the beginning of the base's reply; a reply that the base
ended within `TOKENS` is whole, and only such a one has no "…" at its end. What people ask beside a
picture is short and of all kinds, and often of the things that pictures show: what cows eat, not
what this cow eats. None is a question of the exam (`demo/bench/asides.tsv`).
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from demo.atomic_file import replace_file
from demo.llama.base import choose_device, load_llama, open_base
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.tokenizer.chat_template import Message
from demo.settings import ROOT, Settings

EXAM = ROOT / "demo" / "bench" / "asides.tsv"
TOKENS, SLOTS, POSITIONS = 40, 16, 128
CUT = "…"

FORMS: tuple[tuple[str, str], ...] = (
    ("What is the capital of {}?", "Spain|Portugal|Italy|Norway|Sweden|Denmark|Poland|Turkey|"
     "Ireland|Hungary|Finland|Mexico|Peru|Chile|India|Kenya|Morocco|Vietnam|Indonesia|Iran|"
     "Ukraine|Switzerland|Belgium|Scotland|Colombia"),
    ("Capital of {}?", "Brazil|Iraq|the Netherlands|New Zealand|Nigeria"),
    ("On which continent is {}?", "Brazil|Egypt|China|Nigeria|Peru|Spain|Nepal"),
    ("Which country is {} in?", "Berlin|Madrid|Tokyo|Cairo|Milan|Toronto|Sydney|Moscow"),
    ("Which language do people speak in {}?", "Brazil|Italy|Egypt|China|France|Austria"),
    ("What currency is used in {}?", "India|the United Kingdom|Germany|China|Russia|Mexico"),
    ("Who wrote {}?", "Hamlet|Oliver Twist|The Hobbit|Moby Dick|War and Peace|Don Quixote|"
     "Frankenstein|The Odyssey"),
    ("Who painted {}?", "The Starry Night|The Last Supper|Guernica|The Scream"),
    ("Who invented {}?", "the light bulb|the airplane|the printing press|dynamite|the World Wide "
     "Web|the steam engine|the radio"),
    ("Who discovered {}?", "America|radium|electricity|oxygen|the structure of DNA"),
    ("Who was {}?", "Napoleon|Cleopatra|Mozart|Galileo|Martin Luther King|Marie Curie|Gandhi"),
    ("When did {}?", "the Titanic sink|the Berlin Wall fall|the American Civil War end|"
     "the French Revolution begin|man land on the moon"),
    ("How many {}?", "minutes are in an hour|hours are in two days|weeks are in a year|legs does "
     "a spider have|legs does a dog have|wings does a bee have|players are in a football team|"
     "continents are there|planets are there|strings does a guitar have|letters are in the "
     "alphabet|sides does a hexagon have|teeth does an adult have|wheels does a car have"),
    ("What is {}?", "2 plus 2|three times three|12 minus 5|ten times ten|7 plus 8|one half of 30|"
     "20 divided by 4|9 squared|a noun|a mammal|photosynthesis|gravity|a volcano|democracy|"
     "inflation|a computer virus|the internet|a black hole|an atom|the speed of light|a haiku|"
     "the tallest building|the smallest bird|the fastest animal|the largest ocean|"
     "the largest desert|the deepest ocean|the longest river in the world|the biggest planet"),
    ("{} = ?", "3 + 4|10 - 3|6 x 7|8 / 2"),
    ("What is the opposite of {}?", "hot|light|rich|good|left|early|hard|young|wet|long"),
    ("What is the plural of {}?", "'foot'|'tooth'|'leaf'|'sheep'|'goose'|'box'"),
    ("What is the chemical symbol of {}?", "iron|oxygen|hydrogen|sodium|copper"),
    ("What does {} stand for?", "DNA|NASA|HTML|GPS|UN|FAQ|PDF|WHO"),
    ("What do you call {}?", "a baby dog|a baby cow|a group of wolves|someone who cuts hair|"
     "a doctor for animals|a person who writes books|a house made of snow|a female horse"),
    ("What is {} made of?", "glass|butter|chocolate|concrete|steel|tofu|beer|a candle|a tyre"),
    ("What do {} eat?", "cows|cats|birds|pandas|spiders|whales|rabbits|frogs|horses|snakes|bees"),
    ("Where do {} live?", "polar bears|penguins|kangaroos|camels|lions|koalas|sharks|owls"),
    ("How long do {} live?", "dogs|cats|elephants|turtles|butterflies|horses"),
    ("How do {}?", "birds fly|fish breathe|cats purr|bees make honey|snakes move|plants grow|"
     "magnets work|airplanes fly|cameras work|bridges stand|vaccines work|whales sleep"),
    ("How do I {}?", "boil an egg|train a dog|clean a keyboard|wash a car|cook rice|fix a bike|"
     "bake bread|learn Spanish|save money|sleep better|plant a tree|tune a guitar|make tea|"
     "write a letter|feed a parrot|choose a camera|cut a mango|tie a knot"),
    ("Are {}?", "bananas berries|spiders insects|whales fish|tomatoes fruit|dogs colour blind|"
     "cats lazy|sharks dangerous|mushrooms plants|bats birds"),
    ("Can {}?", "penguins fly|dogs eat chocolate|fish hear|cats swim|you speak French|"
     "you help me with maths|elephants jump|people live on Mars"),
    ("Why {}?", "is the sea salty|do cats purr|do leaves fall|is grass green|do dogs bark|"
     "is the sky blue|do we dream|do zebras have stripes|does bread rise|do birds sing"),
    ("What colour {}?", "is grass|is a ruby|are bananas|is milk|are polar bears|is blood|"
     "do you get from blue and yellow|do you get from red and white|are most taxis in London"),
    ("Tell me about {}.", "France|dinosaurs|the moon|dogs|bananas|tigers|castles|guitars|trains|"
     "the Middle Ages|your training|whales|the history of the bicycle|coffee|Rome"),
    ("Write {}.", "a poem about rain|a poem about a dog|a short story about a cat|a haiku about "
     "winter|a letter to my boss|a joke|a birthday wish|a slogan for a bakery|a limerick|"
     "a sentence with 'apple' in it|an email to a friend|a recipe for pancakes"),
    ("Name {}.", "three colours|two rivers|a vegetable|three animals|a country in Africa|two "
     "dog breeds|a famous painter|three sports|a big city|two metals|a wind instrument|a bird|"
     "a kind of cheese|four seasons|a planet|two primes|a mammal that lives in the sea"),
    ("Translate {}.", "'dog' into French|'good morning' into Spanish|'thank you' into German|"
     "'house' into Italian|'I love you' into French"),
    ("Give me {}.", "a fun fact|a tip for better sleep|an idea for dinner|a word that rhymes with "
     "cat|a synonym for happy|three names for a dog|advice for a job interview|a riddle"),
    ("{}", "Hello!|Hi|Hey there|Good morning|Thanks!|Thank you very much.|How are you?|"
     "Who are you?|What can you do?|What is your name?|Are you a human?|Tell me a joke.|"
     "Who made you?|OK|Great.|I am tired.|I feel sad today.|Let's talk about something else.|"
     "Different topic: what is a good book?|What should I cook tonight?|What day is it today?|"
     "How is the weather?|Recommend a movie.|Do you like music?|I need to buy a present.|"
     "What is the meaning of life?|How does a computer work?|Explain recursion.|Sort 3, 1, 2.|"
     "Which is heavier, a kilo of iron or a kilo of feathers?|Is a tomato a fruit or a vegetable?|"
     "Which is bigger, the earth or the moon?|Which season comes after summer?|Bye!|"
     "What comes after Monday?|Which month has 28 days?|Is water wet?|What rhymes with dog?|"
     "How do you spell necessary?|How far is the moon?|How tall is the Eiffel Tower?|"
     "How old is the universe?|Which animal is the symbol of Australia?|Do fish sleep?|"
     "Where does coffee come from?|Where is Mount Fuji?|Where was pizza invented?|"
     "Which bird cannot fly?|Which fruit has the most vitamin C?|Does a snake have ears?|"
     "What sound does a cow make?|What animal barks?|Which dog breed is the largest?|"
     "Which planet has rings?|Which gas do we breathe?|Which metal is used in wires?|"
     "Which instrument has 88 keys?|Which vehicle has two wheels?|Which sport uses a racket?|"
     "def add(a, b):|Write a function that reverses a string in Python.|Count to five.|"
     "List the days of the week.|Give the first three letters of the alphabet.|"
     "Finish the sentence: The early bird|Say hello in Japanese.|What is the time?"),
)  # fmt: skip


def questions() -> Iterator[str]:
    """Yield all of them that are not the exam's."""
    kept = {line.split("\t")[0] for line in EXAM.read_text("utf-8").splitlines()}
    for form, words in FORMS:
        for word in words.split("|"):
            if (text := form.format(word)) not in kept:
                yield text


def replies(asked: Sequence[str], settings: Settings) -> list[str]:
    """Return what the base says to each, greedily; one that goes on ends with `CUT`."""
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), POSITIONS)
    decoder = Decoder(model, SlotSizes(SLOTS, POSITIONS, 1), settings.threads)
    tokenizer, said = base.tokenizer, []
    for start in range(0, len(asked), SLOTS):
        part = [tokenizer.chat([Message("user", text)]) for text in asked[start : start + SLOTS]]
        rows = [[int(np.argmax(decoder.prefill(slot, ids, None)))] for slot, ids in enumerate(part)]
        for _ in range(TOKENS):
            going = [slot for slot, row in enumerate(rows) if row[-1] not in tokenizer.stop_ids]
            if not going:
                break
            tokens = np.array([rows[slot][-1] for slot in going])
            places = np.array([len(part[slot]) + len(rows[slot]) - 1 for slot in going])
            logits = decoder.step(tokens, np.array(going), places)
            for slot, row in zip(going, logits, strict=True):
                rows[slot].append(int(np.argmax(row)))
        for row in rows:
            ended = row[-1] in tokenizer.stop_ids
            text = " ".join(tokenizer.decode(row[:-1] if ended else row).split())
            said.append(text if ended else f"{text}{CUT}")
    return said


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.sight.talk")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--out", type=Path, required=True)
    given, asked = parser.parse_args(arguments), [*questions()]
    lines = [f"{q}\t{r}\n" for q, r in zip(asked, replies(asked, Settings()), strict=True)]
    with replace_file(given.out) as path:
        path.write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
