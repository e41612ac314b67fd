"""One form for Chinese questions that differ in courtesy, particles and common words alone.

The sentence encoder speaks English, so in Chinese "您是哪位？" and "你是谁" have little in common
for it. What no meaning hangs on is brought into one form by rule: who is asked politely is asked
plainly, spoken words become written ones, and "有没有车位" and "有车位吗" ask the same.
"""

import re

WIDE = r"[\u3040-\u30ff\u3400-\u9fff]"
KANA = re.compile(r"[\u3040-\u30ff]")  # Japanese, of which none of this holds
MOST_READ = 400  # characters of a question
# In this order: what one makes, a later one may read.
SAID_ALIKE = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"[\s，。！？、,.!?~～…]+", ""),
        (r"^(?:你好|您好|哈喽|嗨|喂)[呀啊]?(?=.{3})", ""),
        (r"请问|麻烦|劳驾|打扰|到底|究竟|^那么?(?=.{2})|^请(?=.{2})|^想问", ""),
        (r"一下(?![午雨班课周次])", ""),  # not of "周一下午", which is a time
        (r"[您妳]", "你"),
        (r"贵(?:店|司|公司|校|院)|你们家?", "你"),
        (r"哪一?位", "谁"),
        (r"啥时候|何时|几时|什么时间", "什么时候"),
        (r"几点钟", "几点"),
        (r"啥", "什么"),
        (r"咋样?", "怎么"),
        (r"如何", "怎么"),
        (r"哪儿|什么地方|何处", "哪里"),
        (r"(?:什么)?价(?:钱|格)?是?多少|多少银?钱|什么价[钱格]?", "多少钱"),
        (r"^(?:我(?:应?该|要|能)?)?怎么(?:称呼|叫)你?(?=[呢呀啊]|$)", "你叫什么"),
        (r"[呢呀啊哦哈吧啦嘛哟噢喔]+$", ""),
        (r"叫什么$", "叫什么名字"),
        (r"(?<![什怎那这多])么$", "吗"),
        (r"可否|能否|可不可以|能不能|可以", "能"),
        (r"是否|是不是", "是"),
        (r"有没有", "有"),
        (r"会不会", "会"),
    )
)
ASKS = re.compile(r"[吗谁什怎哪几多]")
TURNED = re.compile(r"能不能|可不可以|能否|可否|是否|是不是|有没有|会不会")


def plain_chinese(question: str) -> str:
    """Return a Chinese question without courtesies, particles and marks, in common words.

    Empty where it is not in Chinese, where nothing is left of it, or where it is too long to be
    one question.
    """
    if not re.search(WIDE, question) or KANA.search(question) or len(question) > MOST_READ:
        return ""
    text = question.casefold()
    turned = TURNED.search(text) is not None
    for pattern, plain in SAID_ALIKE:
        text = pattern.sub(plain, text)
    return f"{text}吗" if turned and not ASKS.search(text) else text
