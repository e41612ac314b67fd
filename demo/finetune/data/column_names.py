"""What people call their columns: in which words, in which languages, with which ornaments.

Names are compared without case, accents, spaces, "_" and "-".
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from demo.finetune.data.conversation import normalise_name

# Names in the order in which they are preferred.
CHAT = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue", "chosenmessages")
QUESTION = (
    *("instruction", "question", "prompt", "query", "user", "human", "message", "q"),
    *("patterns", "pattern", "utterances", "trainingphrases"),
)
INPUT = (
    "input",
    "context",
    "contexttext",
    "passage",
    "hint",
    "paragraph",
    "background",
    "article",
    "document",
    "body",
    "premise",
)
REPLY = (
    *("output", "answer", "response", "reply", "completion", "assistant", "target"),
    *("chosen", "multiplechoiceanswer", "answerkey", "answers", "label", "a", "groundtruth"),
    *("responses", "replies"),
)
PICTURE = (
    *("image", "picture", "photo", "img", "imagepath", "filename", "imagefile", "images"),
    *("imagename", "imageid", "filepath"),
)
SYSTEM = ("system", "systemprompt")
SPLIT = ("split", "subset", "part")
HISTORY = ("history",)
CHOSEN = ("chosen", "chosenmessages")
OPTIONS = ("options", "choices", "candidates", "endings")
CAPTION = ("caption", "captions", "text", "description", "label", "class", "category")
TEXT = ("text", "content", "sentence")
BARRED = ("tools", "functions", "audio", "audios", "video", "videos", "sound", "sounds", "speech")
VERDICT = ("label", "ktotag", "desirable", "approved", "accepted", "liked")
KIND_OF_TEXT = ("intent", "intents", "sentiment", "emotion", "class", "labels")
OPINION = ("rejected", "rejectedmessages", "rating", "score", "reward", "stars")
LONGEST_NAME = 4  # words
# Two texts of which a label says how they go together: SNLI, MNLI, MRPC, RTE, QQP.
PAIRS = (
    *(("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2")),
    *(("text1", "text2"), ("sent1", "sent2")),
)
PAIR_LABELS = ("label", "goldlabel", "isduplicate", "relation")
SUMMARIES = ("summary", "summaries", "highlights", "abstract", "tldr")  # of an article, of a talk
CORRECT = (
    *("correct", "correcta", "correta", "correto", "correcto", "richtig", "korrekt", "corretta"),
    *("correcte", "corretto", "juist", "poprawna", "správná"),
)
# Taken where no better name is there.
LESSER = {
    **{"problem": "question", "utterance": "question", "solution": "answer"},
    **dict.fromkeys(CORRECT, "answer"),
    "preferred": "answer",
    **dict.fromkeys(("front", "term", "word", "ticket", "usermessage", "userinput"), "question"),
    **dict.fromkeys(("back", "definition", "meaning", "resolution"), "answer"),
    **dict.fromkeys(("inputtext", "sourcetext", "inputs", "src"), "question"),
    **dict.fromkeys(("targettext", "outputtext", "targets", "tgt"), "answer"),
    **dict.fromkeys(("goal", "ctx"), "question"),
    **dict.fromkeys(("canonicalsolution", "code", "cop", *SUMMARIES), "answer"),
}
# What people call their columns elsewhere, one and several of it: German, French, Spanish,
# Portuguese, Italian, Dutch, Swedish, Danish, Norwegian, Finnish, Polish, Czech, Slovak, Hungarian,
# Romanian, Croatian, Greek, Russian, Ukrainian, Bulgarian, Kazakh, Turkish, Azerbaijani, Arabic,
# Persian, Hebrew, Hindi, Bengali, Thai, Vietnamese, Indonesian, Malay, Chinese, Japanese, Korean.
_ELSEWHERE = {
    "question": (
        "frage fragen questions pregunta preguntas pergunta perguntas domanda domande vraag vragen "
        "fråga spørgsmål spørsmål kysymys pytanie pytania otázka kérdés întrebare pitanje ερώτηση "
        "вопрос вопросы питання запитання въпрос сұрақ soru sorular sual سؤال السؤال سوال שאלה "
        "प्रश्न প্রশ্ন คำถาม câuhỏi cauhoi pertanyaan soalan 问题 提问 問題 問 問い 质问 질문 質問 "
        "問題文 设问 题目 題目 题干 küsimus küsimused klausimas jautājums vprašanje"
    ),
    "answer": (
        "antwort antworten réponse réponses respuesta respuestas resposta respostas risposta "
        "risposte antwoord antwoorden svar vastaus odpowiedź odpowiedzi odpověď odpoveď válasz "
        "răspuns odgovor απάντηση ответ ответы відповідь отговор жауап cevap cevaplar yanıt cavab "
        "جواب الجواب الإجابة إجابة پاسخ תשובה उत्तर উত্তর คำตอบ trảlời câutrảlời traloi jawaban "
        "jawapan 回答 答案 答复 答覆 答え 답변 답 回复 回覆 解答 vastus vastused "
        "atsakymas atbilde"
    ),
    "image": (
        "bild foto imagen imagem immagine afbeelding изображение картинка 图片 图像 画像 이미지"
    ),
    "options": (
        "opciones opções alternativas choix optionen antwortmöglichkeiten opzioni opties varianten "
        "варианты вариантыответов варіанти seçenekler şıklar opcje možnosti lehetőségek pilihan "
        "lựachọn 选项 選項 選択肢 보기 선택지"
    ),
    "context": "kontext contexte contexto contesto контекст 上下文 背景",
    "translation": (
        "übersetzung traduction traducción tradução traduzione vertaling översättning oversættelse "
        "oversettelse käännös tłumaczenie překlad preklad fordítás traducere prijevod μετάφραση "
        "перевод переклад превод аударма çeviri tərcümə ترجمة ترجمه תרגום अनुवाद অনুবাদ คำแปล "
        "bảndịch terjemahan 翻译 译文 翻譯 譯文 翻訳 訳 訳文 번역 번역문"
    ),
    "summary": (
        "zusammenfassung résumé resumen resumo riassunto samenvatting sammanfattning streszczenie "
        "резюме özet ringkasan tómtắt 摘要 总结 要約 요약"
    ),
    "term": (
        "begriff bezeichnung término termo terme termine begrip termin термин 术语 術語 用語 용어"
    ),
    "definition": (
        "beschreibung erklärung bedeutung definición definição définition definizione "
        "definitie definicja определение значение 释义 定义 定義 説明 解释 정의"
    ),
}
# One of several answers to choose from: option_a, choice1, respuesta_b.
ONE_OPTION = re.compile(
    r"(option|choice|opt|op|ending|sol|opcion|opcao|alternativa|respuesta|resposta|reponse|antwort"
    r"|answer|ans|вариант|ответ|vastus|svar|risposta|odpowiedz|odpoved|cevap|jawaban|)([a-h]|\d)"
)
# Columns named after languages hold a text and its translation; `id` and `no` say something else.
_LANGUAGES = (
    "en de fr es it pt nl sv da nb fi pl cs sk hu ro hr el ru uk bg kk tr az ar fa he hi bn th vi "
    "ms zh ja ko et lt lv sl sr ca eu gl ga cy sw ta ur english german french spanish italian "
    "portuguese dutch swedish danish norwegian finnish polish czech hungarian romanian greek "
    "russian ukrainian turkish arabic persian hebrew hindi bengali thai vietnamese indonesian "
    "malay chinese japanese korean latin deutsch englisch français español italiano português "
    "eng deu ger fra fre spa ita por nld pol ces tur rus ukr ara heb hin zho chi jpn kor vie "
    "swe ron "
    # each as its speakers, and those beside them, write it
    "englisch französisch spanisch italienisch portugiesisch russisch türkisch chinesisch "
    "japanisch anglais allemand espagnol italien portugais russe chinois japonais inglés "
    "francés alemán ruso chino japonés inglês francês alemão russo inglese tedesco francese "
    "spagnolo nederlands engels svenska engelska dansk norsk engelsk suomi englanti polski "
    "angielski niemiecki čeština anglicky magyar angol română engleză hrvatski engleski "
    "ελληνικά αγγλικά русский английский немецкий французский испанский українська англійська "
    "türkçe ingilizce العربية الإنجليزية فارسی انگلیسی עברית אנגלית हिन्दी हिंदी अंग्रेज़ी ไทย "
    "อังกฤษ 中文 英文 汉语 英语 日语 法语 德语 俄语 韩语 西班牙语 英語 日本語 中国語 韓国語 "
    "フランス語 ドイツ語 영어 한국어 국문 영문 일본어 중국어 프랑스어 독일어 indonesia "
    "inggris melayu inggeris"
)
_TRANSLATED = {"term", "terms", "text", "sentence", "translation", "word", "phrase", "string"}
_TRANSLATED_FROM = ("word", "term", "phrase", "sentence", "text", "source")
# Words in a name that make it something about a question or an answer, and not the text of one.
_ABOUT = (
    "id ids type types tag tags kind category class topic level difficulty number num no nr count "
    "counts index idx position order rank url link links source sources date time timestamp lang "
    "language quote start end length len size token tokens embedding embeddings vector hash file "
    "path image images picture audio score scores rating votes status state author keyword "
    "keywords group options choices wrong incorrect false bad rejected worse negative distractor "
    "predicted prediction generated model alternative alternatives explanation reason format mode "
    "template instructions alias aliases points rubric criteria by at is has info"
)
ABOUT = frozenset(_ABOUT.split())


def folded(name: str) -> str:
    """Bring a name into a form to compare, without accents."""
    apart = unicodedata.normalize("NFKD", normalise_name(name))
    return "".join(c for c in apart if not unicodedata.combining(c)).strip(" :;.?*#()\"'`")


LANGUAGES = frozenset(map(folded, _LANGUAGES.split()))
ANSWERS_ELSEWHERE = tuple(_ELSEWHERE["answer"].split())  # as they are written, with accents
ELSEWHERE = {folded(word): name for name, words in _ELSEWHERE.items() for word in words.split()}
WORDS = {
    "question": {"question", "query"} | {w for w, n in ELSEWHERE.items() if n == "question"},
    "answer": {"answer", "response", "reply", "ans"}
    | {w for w, n in ELSEWHERE.items() if n == "answer"},
}


def known_as(name: str) -> str:
    """Give the English name, as the lists above have it, of a column."""
    bare = folded(name)
    return ELSEWHERE.get(bare, bare)


def all_named(columns: Iterable[str], names: Sequence[str]) -> list[str]:
    """Find the columns whose name is one of `names`, in their order."""
    known = [(known_as(column), column) for column in columns]
    return [column for name in names for written, column in known if written == name]


def first_named(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """Find the column whose name comes first in `names`."""
    return next(iter(all_named(columns, names)), None)


def with_word(columns: Iterable[str], what: str) -> list[str]:
    """Find columns in whose names one word says what they hold: `gold_answer`, `pregunta_faq`.

    Args:
        columns: names.
        what: "question" or "answer".
    """
    found, other = [], "answer" if what == "question" else "question"
    for column in columns:
        words = _words_of(column)
        if (
            len(words) <= LONGEST_NAME
            and words & WORDS[what]
            and not words & (WORDS[other] | ABOUT)
        ):
            found.append(column)
    return found or [name for name in columns if LESSER.get(known_as(name)) == what]


def is_about(column: str) -> bool:
    """Tell whether a name says that a column holds something about rows: a number, a source."""
    return bool(_words_of(column) & ABOUT)


def _words_of(column: str) -> set[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    return {folded(word) for word in re.split(r"[\W_]+", apart) if word}


def languages_of(columns: Sequence[str]) -> tuple[str, str] | None:
    """Find the two columns that are named after languages, where no other one holds a text."""
    called = {name: (_words_of(name) - _TRANSLATED) & LANGUAGES for name in columns}
    spoken = [name for name, found in called.items() if _words_of(name) - _TRANSLATED == found]
    spoken = [name for name in spoken if len(called[name]) == 1]
    others = [name for name in columns if name not in spoken]
    if len(spoken) < 2 and (to := first_named(others, ("translation",))):
        others.remove(to)
        texts = spoken or all_named(others, _TRANSLATED_FROM)
        rest = [name for name in others if name not in texts]
        return (texts[0], to) if len(texts) == 1 and all(map(is_about, rest)) else None
    if len(spoken) != 2 or called[spoken[0]] == called[spoken[1]] or not all(map(is_about, others)):
        return None
    return spoken[0], spoken[1]


def pair_of(columns: Sequence[str]) -> tuple[str, str, str] | None:
    """Find two texts and the label that says how they go together."""
    for names in PAIRS:
        found = [first_named(columns, (name,)) for name in (*names, *PAIR_LABELS)]
        labels = [name for name in found[2:] if name]
        if found[0] and found[1] and len(labels) == 1:
            return found[0], found[1], labels[0]
    return None


def options_of(columns: Sequence[str]) -> tuple[str, ...]:
    """Find the column of options, or those that hold one option each."""
    listed = first_named(columns, OPTIONS)
    if listed:
        return (listed,)
    groups: dict[str, list[str]] = {}
    for column in columns:
        match = ONE_OPTION.fullmatch(folded(column))
        if match and (match[1] or match[2].isalpha()):
            groups.setdefault(match[1] or "letter", []).append(column)
    return next((tuple(group) for group in groups.values() if len(group) > 1), ())


def questions_and_replies_of(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find columns that could be the question, and the reply.

    Where a name is no known one, a word in it tells, if it tells for both.
    """
    questions, replies = all_named(columns, QUESTION), replies_of(columns)
    labels = all(normalise_name(name) == "label" for name in replies)
    worded = questions or with_word(columns, "question")
    single = [name for name in columns if name not in options_of(columns)]
    told = with_word(single, "answer") if labels else replies
    about = all_named(columns, INPUT)
    if (worded or about) and told and not all_named(columns, CHAT):
        return worded, told
    return questions, replies


def replies_of(columns: Sequence[str]) -> list[str]:
    """Find columns that could be the reply: a label is none beside another, nor is one option."""
    options = options_of(columns)
    found = [name for name in all_named(columns, REPLY) if name not in options]
    others = [name for name in found if normalise_name(name) != "label"]
    single = [name for name in others if normalise_name(name) != "answers"]
    return single or others or found


def opinions_of(columns: Sequence[str]) -> list[str]:
    """Columns that may say how good a reply is; beside the chosen ones, rejected replies do not."""
    found = all_named(columns, OPINION)
    chosen = first_named(columns, CHOSEN)
    beside = ("rejected", "rejectedmessages") if chosen else ()
    return [name for name in found if normalise_name(name) not in beside]


def asked_alone(columns: Sequence[str]) -> str | None:
    """Find the column that numbers questions, in a table that has no reply."""
    numbers = (name for name in columns if normalise_name(name) in ("questionid", "qid"))
    return None if replies_of(columns) else next(numbers, None)
