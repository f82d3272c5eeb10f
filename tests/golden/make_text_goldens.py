#!/usr/bin/env python3
"""Writes tests/text/golden: small tokenizers of the published kinds, and what Hugging Face makes of nasty strings and conversations.

Run with the oracle (tools/setup --oracle prints ORACLE_PYTHON): $ORACLE_PYTHON tests/golden/make_text_goldens.py
All inputs are generated from seeds. Ids are written two letters each (base 64), one line a string, to keep the files small.
"""
import datetime
import json
import pathlib
import random
import warnings

import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

import chat_templates
import nasty_strings

OUT = pathlib.Path(__file__).resolve().parent.parent / "text" / "golden"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
VOCABULARY = 1200
STRINGS = 2000
OFFSETS = 150
LOCAL_SECONDS = 1_721_985_930  # 26 Jul 2024, 09:25:30 on the local clock

LLAMA3_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(split):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(tokenizer, alphabet):
    tokenizer.train_from_iterator(nasty_strings.training_text(), trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def add_tokens(tokenizer, special):
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([
        AddedToken("<MASK>", lstrip=True, normalized=False),
        AddedToken("<wordish>", single_word=True, rstrip=True, normalized=False),
        AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False),
        AddedToken("straße", normalized=True),
    ])
    return tokenizer


def smollm():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    return add_tokens(train(t, pre_tokenizers.ByteLevel.alphabet()), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def llama3():
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = byte_level(LLAMA3_SPLIT)
    t.decoder = decoders.ByteLevel()
    add_tokens(train(t, pre_tokenizers.ByteLevel.alphabet()), ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    bos = "<|begin_of_text|>"
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, t.token_to_id(bos))])])
    return t


def qwen2():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = byte_level(QWEN2_SPLIT)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return add_tokens(train(t, pre_tokenizers.ByteLevel.alphabet()), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def byte_fallback():
    """SentencePiece's kind, as Llama 2 and Mistral have it: the decoder strips a leading blank, so streams need their context."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(nasty_strings.training_text(1500), trainers.BpeTrainer(vocab_size=900, special_tokens=special, limit_alphabet=120, show_progress=False))
    data = json.loads(t.to_str())
    data["added_tokens"] = [a for a in data["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(data))
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def packed(ids):
    return "".join(LETTERS[i >> 6] + LETTERS[i & 63] for i in ids)


def byte_offsets(text, encoding):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode()))
    return [[at[b], at[e]] for b, e in encoding.offsets]


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def tokenizer_goldens(name, tokenizer, texts):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    assert tokenizer.get_vocab_size() <= 4096
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    # Through transformers, so that what it does to a tokenizer is part of the golden.
    hf = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    # Most texts decode to themselves behind what the post-processor puts first; only the others are written down.
    prefix = hf.decode(hf("a")["input_ids"], skip_special_tokens=False)[:-1]
    lines, different = [], {}
    for i, text in enumerate(texts):
        ids = hf(text, add_special_tokens=True)["input_ids"]
        lines.append(packed(ids))
        decoded = [hf.decode(ids, skip_special_tokens=skip) for skip in (False, True)]
        if decoded != [prefix + text, text]:
            different[i] = decoded
    (folder / "ids.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    rng = random.Random(5)
    loose = [[rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(1, 12))] for _ in range(200)]
    loose += [[rng.choice([i for i in range(256, 512)] + list(range(256))) for _ in range(6)] for _ in range(100)]
    write_json(folder / "more.json", {
        "prefix": prefix,
        "decoded": different,
        "offsets": [byte_offsets(t, tokenizer.encode(t, add_special_tokens=True)) for t in texts[:OFFSETS]],
        "no_special": [packed(hf(t, add_special_tokens=False)["input_ids"]) for t in texts[:OFFSETS]],
        "loose": [[packed(ids), hf.decode(ids, skip_special_tokens=False), hf.decode(ids, skip_special_tokens=True)] for ids in loose],
    })


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.utcfromtimestamp(LOCAL_SECONDS)


def chat_goldens(texts):
    warnings.simplefilter("ignore")
    chat_template_utils.datetime = FixedClock
    hf = PreTrainedTokenizerFast(tokenizer_file=str(OUT / "smollm" / "tokenizer.json"), bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>")
    chats = chat_templates.conversations(texts)
    cases = []

    def case(template, chat, tools=None, **more):
        source = chat_templates.TEMPLATES[template]
        entry = {"template": template, "variables": {"messages": chat, "tools": tools, "documents": None, **more}}
        try:
            if chat:
                entry["text"] = hf.apply_chat_template(chat, tools=tools, chat_template=source, tokenize=False, **more)
            else:  # apply_chat_template itself fails on an empty conversation; the template's own answer is wanted
                variables = {**hf.special_tokens_map, **more}
                entry["text"] = chat_template_utils.render_jinja_template([chat], tools=tools, chat_template=source, **variables)[0][0]
        except Exception as e:  # every failure of the oracle is a case: ours must fail too
            raised = type(e).__name__ == "TemplateError"
            entry["error"] = str(e) if raised else None
        cases.append(entry)

    for name in chat_templates.TEMPLATES:
        for i, chat in enumerate(chats):
            if i < 40 or (i + len(name)) % 6 == 0:
                case(name, chat, add_generation_prompt=i % 2 == 0)
    for chat in chats[:15]:
        case("llama3", chat, tools=chat_templates.TOOLS, add_generation_prompt=True)
        case("llama3", chat, tools=chat_templates.TOOLS, tools_in_user_message=False, add_generation_prompt=True, date_string="1 Jan 2030")
        case("qwen", chat, tools=chat_templates.TOOLS, add_generation_prompt=True, enable_thinking=False)
    # The aliases transformers adds to a message that carries reasoning are part of what the template sees.
    for entry in cases:
        entry["variables"]["messages"] = chat_template_utils._alias_reasoning_fields(entry["variables"]["messages"])
    write_json(OUT / "chat.json", {
        "templates": chat_templates.TEMPLATES, "local_seconds": LOCAL_SECONDS, "special_tokens": dict(hf.special_tokens_map), "cases": cases})
    failed = sum("text" not in c for c in cases)
    print(f"{len(cases)} chat cases, {failed} of them failures; messages: {sorted({str(c['error']) for c in cases if 'error' in c})}")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    texts = nasty_strings.strings(STRINGS)
    write_json(OUT / "strings.json", texts)
    for name, make in (("smollm", smollm), ("llama3", llama3), ("qwen2", qwen2), ("byte_fallback", byte_fallback)):
        tokenizer_goldens(name, make(), texts)
    chat_goldens(nasty_strings.strings(600)[150:])
    size = sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file())
    print(f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}; {len(texts)} strings; {size / 1e6:.2f} MB in {OUT.name}")


if __name__ == "__main__":
    main()
