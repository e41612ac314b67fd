"""How people ask `sight` about a picture: wordings to teach, and others kept for the exam alone.

`{}` stands for what is asked about: "a goldfish", "an animal".
"""

from collections.abc import Mapping

NAME, KIND, CHOICE, YES_NO, YES_NO_WHAT = "name", "kind", "choice", "yes-no", "yes-no-what"
BRIEF, COLOUR, SHAPE = "brief", "colour", "shape"
OPTIONS = "an animal, a plant, food, a place or a thing"

ASKED: Mapping[str, tuple[str, ...]] = {
    NAME: (
        "What is this?",
        "What is in this picture?",
        "What do you see?",
        "What does the picture show?",
        "What is shown here?",
        "Name what is in the picture.",
        "What can you see in the image?",
        "Describe the picture.",
        "Can you tell me what this is?",
        "What is it?",
        "Tell me what you see.",
        "Please describe this image.",
        "What is this thing?",
        "Which thing is in the picture?",
        "What thing do you see?",
        "What do you call this thing?",
    ),
    KIND: (
        "What kind of thing is it?",
        "What kind of thing is this?",
        "What sort of thing do you see?",
        "What type of thing is in the picture?",
        "What kind of thing does the picture show?",
        "To which group does it belong?",
        "What is it, roughly?",
        "In general, what is this?",
        "Which category is it?",
        "What kind of object do you see?",
        "What sort of object is it?",
        "Name the kind of thing, not the thing.",
    ),
    CHOICE: (
        f"Is it {OPTIONS}?",
        f"Is this {OPTIONS}?",
        f"Does the picture show {OPTIONS}?",
        f"Which is it: {OPTIONS}?",
        f"Do you see {OPTIONS}?",
        f"Tell me whether it is {OPTIONS}.",
        f"Which of these is in the picture: {OPTIONS}?",
        f"Would you say this is {OPTIONS}?",
    ),
    YES_NO: (
        "Is this {}?",
        "Is it {}?",
        "Do you see {}?",
        "Can you see {}?",
        "Does the picture show {}?",
        "Is this a picture of {}?",
        "Is that {} in the picture?",
        "Is {} shown here?",
        "Could you check whether this is {}?",
        "Yes or no: is this {}?",
    ),
    YES_NO_WHAT: (
        "Is this {}? If not, what is it?",
        "Is it {}, or what is it?",
        "Is this {}? Say what it is.",
        "Do you see {}? If not, what do you see?",
        "Is this {}? And why?",
        "Is it {}? Explain.",
        "Does the picture show {}? If not, what does it show?",
        "Tell me if this is {}, and what it is.",
    ),
    BRIEF: (
        "{} Answer in one word.",
        "{} Be brief.",
        "{} Answer briefly.",
        "{} A short answer, please.",
        "{} Just the name.",
        "{} Keep it short.",
        "In one word: {}",
        "In a few words: {}",
    ),
}
ASKED_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    NAME: ("What am I looking at?", "What is the thing in this photo?"),
    KIND: ("What kind of object is in the image?", "Roughly, what sort of thing is this?"),
    CHOICE: (f"Say which of these it is: {OPTIONS}.", f"Does this look like {OPTIONS}?"),
    YES_NO: ("Is there {} in the picture?", "Would you say that this is {}?"),
    YES_NO_WHAT: ("Is there {} here? If not, what is there?", "Is this {}? Tell me what it is."),
    BRIEF: ("{} Only a few words.", "{} Make it short."),
    COLOUR: ("Tell me the colour.", "What colour would you say it has?"),
    SHAPE: ("Tell me the shape.", "What shape would you call it?"),
}

# What `sight` was not taught and must not make up. The last two are asked of photographs and
# drawings alone: of a plain shape they have an answer.
TEXT, PERSON, COUNT, PLACE, FUTURE = "text", "person", "count", "place", "future"
REFUSALS: Mapping[str, str] = {
    TEXT: "I can't read text in pictures.",
    PERSON: "I can't tell who somebody is.",
    COUNT: "I can't count things in pictures.",
    PLACE: "I can't tell where or when a picture was taken.",
    FUTURE: "I can't tell what happens before or after a picture.",
    COLOUR: "I can only tell the colour of plain shapes.",
    SHAPE: "I can only tell the shape of plain shapes.",
}
ASKED_IN_VAIN: Mapping[str, tuple[str, ...]] = {
    TEXT: (
        "What does the text say?",
        "What is written here?",
        "Read the text in the picture.",
        "Can you read the sign?",
        "What does the label say?",
        "Which words are in the picture?",
        "Please read this out to me.",
        "What is the title on it?",
    ),
    PERSON: (
        "Who is this?",
        "Who is this person?",
        "What is the name of this person?",
        "Who is in the picture?",
        "Do you know who that is?",
        "Is this somebody famous?",
        "Tell me who this is.",
        "Which actor is this?",
    ),
    COUNT: (
        "How many are there?",
        "How many things do you see?",
        "How many are in the picture?",
        "Count them.",
        "How many people are there?",
        "How many animals can you see?",
        "Can you count them for me?",
        "What is the number of things here?",
    ),
    PLACE: (
        "Where was it taken?",
        "Where was this picture taken?",
        "When was this taken?",
        "In which city is this?",
        "Which country is this?",
        "What place is this?",
        "What year is this picture from?",
        "Who took this picture, and where?",
    ),
    FUTURE: (
        "What happens next?",
        "What will happen next?",
        "What happened before this?",
        "What comes after this?",
        "What is going to happen?",
        "Tell me what happens afterwards.",
        "What did they do before?",
        "How does it end?",
    ),
    COLOUR: (
        "What colour is it?",
        "What color is it?",
        "Which colour is it?",
        "What color is this?",
        "What is its colour?",
        "Which color do you see?",
        "What colour is the thing?",
        "Name its colour.",
    ),
    SHAPE: (
        "What shape is it?",
        "What shape is this?",
        "Which shape is it?",
        "Which shape do you see?",
        "What is its shape?",
        "What shape is in the picture?",
        "What shape does it have?",
        "Name its shape.",
    ),
}
IN_VAIN_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    TEXT: ("What do the letters say?", "Could you read the words for me?"),
    PERSON: ("Who do you see?", "Do you recognise this person?"),
    COUNT: ("How many do you count?", "Tell me how many there are."),
    PLACE: ("Where is this?", "Do you know where that was photographed?"),
    FUTURE: ("What will they do next?", "And what happens then?"),
    COLOUR: ASKED_ELSEWHERE[COLOUR],
    SHAPE: ASKED_ELSEWHERE[SHAPE],
}
