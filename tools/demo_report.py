"""The closing table of tools/demo: how many questions each judge got right, routed and on the base alone, from the client's per-question output."""
import json
import sys

JUDGES = [("letter", "letter"), ("text_sum", "text, sum"), ("text_per_byte", "text, per byte"), ("text_pmi", "text, PMI")]


def right(path):
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if "winners" in row]
    return len(rows), {key: sum(row["winners"].get(key) == row["answer"] for row in rows) for key, _ in JUDGES}


label, routed_path, base_path = sys.argv[1:4]
n, routed = right(routed_path)
_, base = right(base_path)
print(label)
print(f"\n  {'judge':<16}{'untrained experts':>20}{'base alone':>14}    of {n} questions; chance is {n // 4}")
for key, name in JUDGES:
    print(f"  {name:<16}{routed[key]:>20}{base[key]:>14}")
print("\n  A model of this size cannot bind letters to options, so the letter judge stays near chance; judged by the text of the options it does better.\n"
      "  Untrained experts and routers only perturb the base: they are here to show the machinery.")
