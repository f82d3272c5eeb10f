"""The closing table of tools/demo: one row a way of routing, one column a domain, from the client's per-question output."""
import json
import math
import pathlib
import sys

label, directory, *domains = sys.argv[1:]
columns = [*domains, "general"]
JUDGES = [("text_sum", "the options' text"), ("text_per_byte", "the options' text, per byte"), ("letter", "the letter")]


def read(name):
    """{domain: [verdicts of one question]} of a row's file."""
    found = {column: [] for column in columns}
    for line in (pathlib.Path(directory) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)
        if "winners" in answer:
            found[pathlib.Path(answer["file"]).parent.name].append({judge: answer["winners"].get(judge) == answer["answer"] for judge, _ in JUDGES})
    return found


def half_width(right, n):
    """Of Wilson's 95 % interval."""
    z, p = 1.959964, right / n
    return 100 * z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))


rows = {"base": read("base"), "random router": read("random")}
for domain in domains:
    rows[f"expert {domain}"] = read(f"expert-{domain}")
rows["general LoRA"] = read("general-lora")
# Every domain by its own expert, what has none by the base: what a router that knew the label would do.
rows["oracle"] = {d: rows[f"expert {d}"][d] for d in domains} | {"general": rows["base"]["general"]}
rows["routed top-1"], rows["routed top-2"] = read("top-1"), read("top-2")

print(label)
for judge, title in JUDGES:
    print(f"\nAccuracy in % with 95 % intervals, judged by {title}; chance is 25\n")
    print(f"  {'':<22}" + "".join(f"{column:>15}" for column in columns) + f"{'average':>15}")
    for name, answers in rows.items():
        cells, mean, variance = "", 0.0, 0.0
        for column in columns:
            n = len(answers[column])
            right = sum(verdict[judge] for verdict in answers[column])
            cells += f"{100 * right / n:>8.1f} ±{half_width(right, n):>4.1f} "
            mean += right / n / len(columns)
            variance += (right / n) * (1 - right / n) / n / len(columns) ** 2
        print(f"  {name:<22}{cells}{100 * mean:>8.1f} ±{196 * math.sqrt(variance):>4.1f}")
print("\n  A model of this size cannot bind letters to options, so the letter judge stays near chance whoever answers.")
