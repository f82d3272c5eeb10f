"""The closing table of tools/demo: accuracy by judge, routed and base, out of the client's per-question output."""
import json
import sys

label, routed, base = sys.argv[1:4]
print(label)
print("see above for intervals; per-question figures:", routed, "and", base)
for name, path in (("routed", routed), ("base", base)):
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    print(f"  {name}: {len(rows)} questions")
