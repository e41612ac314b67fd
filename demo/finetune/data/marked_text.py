"""Whole conversations that are one text, in which marks say who speaks."""

import re

# Who speaks, as texts of whole conversations mark it.
SPEAKER = re.compile(
    r"###[ ]?(human|user|instruction|input|assistant|gpt|response|system)[ ]?:"
    r"|(?:^|\n|</?s>)[ \t]*(human|user|assistant|system):"
    r"|<(human|user|customer|bot|assistant|agent|system)>[ ]?:"
    r"|<\|im_start\|>(user|assistant|system)\b"
    r"|<\|(user|assistant|system)\|>"
    r"|<start_of_turn>(user|model|developer)\b"
    r"|<\|start_header_id\|>(user|assistant|system)<\|end_header_id\|>",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"<\|(?:im_end|eot_id|begin_of_text|endoftext)\|>|</?s>|<(?:end_of_turn|bos|eos)>"
)
ROLES = {
    **{"human": "user", "instruction": "user", "gpt": "assistant", "response": "assistant"},
    **{"model": "assistant", "developer": "system"},
    **{"customer": "user", "bot": "assistant", "agent": "assistant"},
}
LLAMA = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?=\[INST\]|$)", re.DOTALL)
LLAMA_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>(.*)", re.DOTALL)


def marked_turns(text: str) -> list[dict[str, str]] | None:
    """Read a conversation out of a text that marks who speaks; None where it marks nobody.

    Known are `### Human:`, `Human:`, Alpaca's `### Instruction:`, ChatML's `<|im_start|>user`,
    `<|user|>`, LLaMA 2's `[INST]` and LLaMA 3's headers.
    """
    if "[INST]" in text:
        return _llama_turns(text)
    marks = list(SPEAKER.finditer(text))
    if not marks:
        return None
    turns: list[dict[str, str]] = []
    if before := CLOSING.sub("", text[: marks[0].start()]).strip():
        turns.append({"role": "system", "content": before})
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        speaker = next(name for name in mark.groups() if name).casefold()
        said = CLOSING.sub("", text[mark.end() : end]).strip()
        if speaker == "input":
            if turns and said:
                turns[-1]["content"] += f"\n\n{said}"
            continue
        turns.append({"role": ROLES.get(speaker, speaker), "content": said})
    return turns if {"user", "assistant"} <= {turn["role"] for turn in turns} else None


def asked_in_turns(text: str) -> list[dict[str, str]] | None:
    """Read a question with the turns before it: `<user>: … <bot>: … <user>: …`; None if alone."""
    turns = marked_turns(text) if SPEAKER.match(text.lstrip()) else None
    if turns and turns[-1] == {"role": "assistant", "content": ""}:  # where the reply begins
        turns.pop()
    spoken = [turn["role"] for turn in turns or () if turn["role"] != "system"]
    return turns if len(spoken) > 2 and spoken[-1] == "user" else None


def _llama_turns(text: str) -> list[dict[str, str]] | None:
    turns: list[dict[str, str]] = []
    for asked, replied in LLAMA.findall(text):
        system = LLAMA_SYSTEM.match(asked)
        if system and not turns:
            turns.append({"role": "system", "content": system[1].strip()})
        question = (system[2] if system else asked).strip()
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": CLOSING.sub("", replied).strip()})
    return turns or None
