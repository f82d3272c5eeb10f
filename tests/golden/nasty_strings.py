"""Seeded strings that break tokenizers: blanks of all kinds, joined emoji, combining marks, control characters, digits, look-alike specials."""
import random

PIECES = {
    "words": "the of and river Mountain can't I'll they're WE'VE don’t naïve straße quick fox _snake_case CamelCase x=1 foo(bar) http://a.b/c?d=e&f 3rd 1st".split(),
    "digits": ["2024", "7", "00001", "3.14159", "1,000,000", "123456789012345678901234567890", "٣٤٥", "१२३", "Ⅷ", "²", "½", "１２"],
    "blanks": [" ", "  ", "   ", "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", " \n ", "\u00a0", "\u2003", "\u3000", "\u2028", "\u200b", "\ufeff", "\x0b", "\x0c", "\x1c", "\x85"],
    "cjk": ["日本語", "漢字かな交じり文", "中文，标点。", "한국어", "カタカナ", "ｶﾀｶﾅ", "𠮷野家", "「」", "々〆"],
    "emoji": ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "1️⃣", "❤️", "☃", "🧑🏿‍🚀", "🫠", "‍", "\ufe0f"],
    "marks": ["e\u0301", "é", "o\u0308\u0304", "\u0301", "Z\u0351\u0343\u0302a\u0330\u0321lgo", "ﬁ", "Å", "Å", "A\u030a", "각", "\u1100\u1161\u11a8", "ẛ\u0323"],
    "rtl": ["שלום", "مرحبا بالعالم", "\u202eabc\u202c", "پارسی", "אָ"],
    "scripts": ["Привет", "Ελληνικά", "हिन्दी", "ไทย", "தமிழ்", "ខ្មែរ", "ქართული", "Հայերեն", "🜁", "𝕳𝖊𝖑𝖑𝖔", "ᚠᚢᚦ"],
    "control": ["\x00", "\x01", "\x07", "\x08", "\x1b[31m", "\x7f", "\x9f", "\ufffd", "\ufffe", "\U0010ffff", "\ue000"],
    "specials": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>user\n", "<|im_end", "|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>",
                 "<tool_call>", "</tool_call>", "<MASK>", "xx<MASK>yy", " <MASK> ", "<wordish>", "a<wordish>b", "<0x0A>", "<unk>", "▁", "Ġ", "Ċ"],
    "punctuation": ["...", "!?", "--", "''", '"', "\\n", "{}", "[[", "$$", "%%", "#!", "@@", "//", "/*", "*/", "&amp;", "—", "…", "‘’", "«»", "¿", "。"],
}


def strings(count, seed=20240607):
    rng = random.Random(seed)
    every = [piece for group in PIECES.values() for piece in group]
    out = [""] + every
    groups = list(PIECES)
    while len(out) < count:
        kind = rng.random()
        if kind < 0.25:  # one group repeated
            group = PIECES[rng.choice(groups)]
            parts = [rng.choice(group) for _ in range(rng.randint(2, 8))]
        elif kind < 0.75:  # words with trouble in between
            parts = []
            for _ in range(rng.randint(2, 9)):
                parts += [rng.choice(PIECES["words"]), rng.choice([" ", " ", "", rng.choice(PIECES["blanks"])]), rng.choice(every)]
        elif kind < 0.9:  # anything beside anything
            parts = [rng.choice(every) for _ in range(rng.randint(2, 12))]
        else:  # random code points of random planes
            def point():
                while True:
                    c = rng.randrange(rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x110000]))
                    if not 0xD800 <= c <= 0xDFFF:
                        return chr(c)
            parts = [point() for _ in range(rng.randint(1, 24))]
        out.append("".join(parts))
    return out[:count]


def training_text(lines=4000, seed=7):
    """Enough regularity for merges of one to three letters, blanks, punctuation and some other scripts."""
    rng = random.Random(seed)
    syllables = [a + b for a in ["b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "st", "t", "th", "w"] for b in ["a", "e", "i", "o", "u", "er", "ing", "ion", "ed"]]
    words = PIECES["words"] + ["".join(rng.choice(syllables) for _ in range(rng.randint(1, 3))) for _ in range(300)]
    other = [p for g in ("cjk", "emoji", "marks", "rtl", "scripts", "digits", "punctuation") for p in PIECES[g]]
    for _ in range(lines):
        line = []
        for _ in range(rng.randint(4, 14)):
            line.append(rng.choice(words) if rng.random() < 0.85 else rng.choice(other))
        yield rng.choice(["", " ", "    "]) + " ".join(line) + rng.choice([".", "!", "?", "\n", "\n\n", " \n"])
