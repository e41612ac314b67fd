"""The formats that are understood, each with an example to copy. A test reads every one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """`example` is a whole file that can be used as it stands.

    `pictures` are the names of those that would lie beside it in the zip.
    """

    title: str
    explanation: str
    file: str
    example: str
    pictures: tuple[str, ...] = ()


FORMATS = (
    Format(
        "A table (CSV)",
        "One example a row; the first row names the columns. Save it from any spreadsheet. Commas, "
        "semicolons and tabs all work. A text with a comma or a line break in it stands in double "
        "quotes.",
        "examples.csv",
        'question,answer\nWhat is your name?,I am Robo.\nWho made you?,"A small, patient team."\n',
    ),
    Format(
        "Question and reply (JSON lines)",
        "One object a line. The names may be prompt and response, prompt and completion, question "
        "and answer, or input and output.",
        "examples.jsonl",
        '{"prompt": "Good morning!", "response": "Ahoy, matey!"}\n'
        '{"prompt": "How are you?", "response": "Shipshape, me hearty."}\n',
    ),
    Format(
        "Alpaca (JSON)",
        "A list of objects. What stands in input follows the instruction; it may be empty.",
        "alpaca.json",
        "[\n"
        '  {"instruction": "Make it polite.", "input": "Give me that.", '
        '"output": "May I have that, please?"},\n'
        '  {"instruction": "Name a fruit.", "input": "", "output": "A pear."}\n'
        "]\n",
    ),
    Format(
        "Conversations (JSON lines)",
        "Each line is one conversation. User and assistant take turns, a system turn may come "
        "first, and every reply of the assistant is learned. ShareGPT's conversations with from "
        "and value work too.",
        "chats.jsonl",
        '{"messages": [{"role": "system", "content": "You are a cook."}, '
        '{"role": "user", "content": "I have eggs."}, '
        '{"role": "assistant", "content": "Then we make an omelette."}, '
        '{"role": "user", "content": "And milk?"}, '
        '{"role": "assistant", "content": "Then it gets fluffy."}]}\n'
        '{"messages": [{"role": "user", "content": "Soup?"}, '
        '{"role": "assistant", "content": "Start with an onion."}]}\n',
    ),
    Format(
        "Pictures and questions (zip)",
        "A zip with one table and the pictures that it names: JPEG, PNG, WebP or GIF. Several rows "
        "may ask about one picture.",
        "data.csv",
        "image,question,answer\n"
        "pictures/cat.jpg,What is in the picture?,A cat on a sofa.\n"
        "pictures/cat.jpg,Is it asleep?,yes\n"
        "pictures/bus.png,What colour is the bus?,red\n",
        ("pictures/cat.jpg", "pictures/bus.png"),
    ),
    Format(
        "Your own test rows",
        "A column split that says train or test keeps rows out of training, to judge by. Without "
        "it a share of the rows is drawn.",
        "with-split.csv",
        "question;answer;split\n"
        "What is 2 + 3?;five;train\n"
        "What is 4 + 1?;five;train\n"
        "What is 3 + 3?;six;test\n",
    ),
)
