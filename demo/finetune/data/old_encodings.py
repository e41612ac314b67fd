"""Text that is no Unicode: the encodings that sheets have in many countries, by their letters."""

# As Python names them, and as people do.
ENCODINGS = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250 (Central Europe)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)",
    "cp1254": "Windows-1254 (Turkish)",
    "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)",
    "cp874": "Windows-874 (Thai)",
    "gb18030": "GB 18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp932": "Shift-JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "cp949": "EUC-KR (Korean)",
}
LATIN = ("cp1250", "cp1254")  # like Windows-1252 but for some letters
FEWEST = 5  # different letters beyond ASCII that tell one of these
SAMPLED = 50_000  # bytes from which the encoding is told
NOTE = (
    "The file is not UTF-8 and was read as {name}. If letters look wrong, save it again as UTF-8."
)


def old_text(data: bytes) -> tuple[str, str]:
    """Return the text of bytes that are no Unicode, and a note that says what they were read as."""
    for encoding in (_likely(data), "cp1252"):
        try:
            return data.decode(encoding), NOTE.format(name=ENCODINGS[encoding])
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), NOTE.format(name=ENCODINGS["cp1252"])  # five bytes lack there


def _likely(data: bytes) -> str:
    """Tell the encoding by the letters that it makes; Windows-1252 where it makes the same."""
    from charset_normalizer import from_bytes  # seldom needed

    sample = data[:SAMPLED]
    if len(data) > SAMPLED:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    found = from_bytes(sample, cp_isolation=list(ENCODINGS)).best()
    encoding = found.encoding if found else ""
    few = len({byte for byte in sample if byte > 127}) < FEWEST
    if encoding not in ENCODINGS or (few and encoding in LATIN):
        return "cp1252"
    if sample.decode("cp1252", "ignore") == str(found):
        return "cp1252"
    return encoding
