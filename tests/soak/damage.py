"""Artifacts broken in many ways: real files, really damaged. Each way is a function that takes the directory of a good copy."""
import hashlib
import json
import os
import struct


def read_json(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def write(path, data):
    with open(path, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


def config(**fields):
    """An adapter_config.json with these fields; None takes one away."""
    def damage(directory):
        path = os.path.join(directory, "adapter_config.json")
        content = {**read_json(path), **fields}
        write(path, json.dumps({k: v for k, v in content.items() if v is not None}))
    return damage


def manifest(rehash=False, **fields):
    def damage(directory):
        path = os.path.join(directory, "router.json")
        content = {**read_json(path), **fields}
        if rehash:
            with open(os.path.join(directory, "router.safetensors"), "rb") as f:
                content["tensors_sha256"] = hashlib.sha256(f.read()).hexdigest()
        write(path, json.dumps({k: v for k, v in content.items() if v is not None}))
    return damage


def replace(name, data):
    return lambda directory: write(os.path.join(directory, name), data)


def remove(name):
    return lambda directory: os.remove(os.path.join(directory, name))


def cut(name, share):
    def damage(directory):
        path = os.path.join(directory, name)
        os.truncate(path, int(os.path.getsize(path) * share))
    return damage


def edit(name, change):
    """`change` of header (a dict) and data (bytes) of a safetensors file, written back with whatever it makes of them."""
    def damage(directory):
        path = os.path.join(directory, name)
        with open(path, "rb") as f:
            raw = f.read()
        length = struct.unpack("<Q", raw[:8])[0]
        header, data = change(json.loads(raw[8:8 + length]), bytearray(raw[8 + length:]))
        text = json.dumps(header).encode()
        write(path, struct.pack("<Q", len(text)) + text + bytes(data))
    return damage


def raw(name, change):
    def damage(directory):
        path = os.path.join(directory, name)
        with open(path, "rb") as f:
            content = bytearray(f.read())
        write(path, bytes(change(content)))
    return damage


def first_tensor(header):
    return next(k for k in header if k != "__metadata__")


def with_number(pattern):
    """The first number of the first tensor, whatever its type, becomes `pattern` (the top bytes of a float)."""
    def change(header, data):
        entry = header[first_tensor(header)]
        at, width = entry["data_offsets"][0], {"F32": 4, "BF16": 2, "F16": 2}[entry["dtype"]]
        data[at:at + width] = (b"\0\0" + pattern)[-width:]
        return header, data
    return change


def entry(**fields):
    def change(header, data):
        header[first_tensor(header)].update(fields)
        return header, data
    return change


def renamed(header, data):
    name = first_tensor(header)
    return {(k + ".other" if k == name else k): v for k, v in header.items()}, data


def overlapping(header, data):
    names = [k for k in header if k != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    return header, data


def swapped_shape(header, data):
    tensor = header[first_tensor(header)]
    tensor["shape"] = tensor["shape"][::-1]
    return header, data


def flipped(content):
    content[-5] ^= 0x40
    return content


def both(*damages):
    def damage(directory):
        for one in damages:
            one(directory)
    return damage


def link_out(name):
    def damage(directory):
        os.remove(os.path.join(directory, name))
        os.symlink("/etc/hostname", os.path.join(directory, name))
    return damage


def pipe(name):
    def damage(directory):
        os.remove(os.path.join(directory, name))
        os.mkfifo(os.path.join(directory, name))
    return damage


def folder(name):
    def damage(directory):
        os.remove(os.path.join(directory, name))
        os.mkdir(os.path.join(directory, name))
    return damage


CONFIG, WEIGHTS, ROUTER, TENSORS = "adapter_config.json", "adapter_model.safetensors", "router.json", "router.safetensors"

EXPERT = {
    "config-cut": cut(CONFIG, 0.5), "config-empty": replace(CONFIG, ""), "config-not-utf8": replace(CONFIG, b'{"r": "\xff"}'),
    "config-deep": replace(CONFIG, "[" * 100000), "config-list": replace(CONFIG, "[]"), "config-missing": remove(CONFIG),
    "config-folder": folder(CONFIG), "config-pipe": pipe(CONFIG), "config-link-out": link_out(CONFIG),
    "config-unknown-field": config(use_magic=True), "config-rank-0": config(r=0), "config-rank-negative": config(r=-4),
    "config-rank-huge": config(r=1 << 60), "config-rank-other": config(r=3), "config-rank-text": config(r="eight"),
    "config-no-rank": config(r=None), "config-alpha-text": config(lora_alpha="much"), "config-bias": config(bias="all"),
    "config-type": config(peft_type="IA3"), "config-dora": config(use_dora=True), "config-no-targets": config(target_modules=[]),
    "config-attention": config(target_modules=["q_proj"]), "config-modules-to-save": config(modules_to_save=["lm_head"]),
    "weights-missing": remove(WEIGHTS), "weights-empty": replace(WEIGHTS, b""), "weights-cut": cut(WEIGHTS, 0.6),
    "weights-cut-in-header": cut(WEIGHTS, 0.01), "weights-folder": folder(WEIGHTS), "weights-pipe": pipe(WEIGHTS),
    "weights-link-out": link_out(WEIGHTS), "weights-header-huge": raw(WEIGHTS, lambda b: b"\xff" * 8 + b[8:]),
    "weights-header-off-by-one": raw(WEIGHTS, lambda b: struct.pack("<Q", struct.unpack("<Q", b[:8])[0] + 1) + b[8:]),
    "weights-header-no-json": raw(WEIGHTS, lambda b: b[:8] + b"{" * 64 + b[72:]), "weights-trailing": raw(WEIGHTS, lambda b: b + b"more"),
    "weights-nan": edit(WEIGHTS, with_number(b"\xc0\x7f")), "weights-infinite": edit(WEIGHTS, with_number(b"\x80\x7f")),
    "weights-dtype": edit(WEIGHTS, entry(dtype="F4")), "weights-integers": edit(WEIGHTS, entry(dtype="I32")),
    "weights-renamed": edit(WEIGHTS, renamed), "weights-overlap": edit(WEIGHTS, overlapping), "weights-shape": edit(WEIGHTS, swapped_shape),
    "weights-negative-shape": edit(WEIGHTS, entry(shape=[-1, -1])), "weights-offsets": edit(WEIGHTS, entry(data_offsets=[8, 0])),
}
ROUTERS = {
    "manifest-cut": cut(ROUTER, 0.5), "manifest-empty": replace(ROUTER, ""), "manifest-missing": remove(ROUTER),
    "manifest-version": manifest(format_version=99), "manifest-kind": manifest(kind="oracle"), "manifest-unknown-field": manifest(magic=1),
    "manifest-base": manifest(base_generation="0" * 64), "manifest-top-0": manifest(top_k=0), "manifest-top-99": manifest(top_k=99),
    "manifest-layers": manifest(num_layers=77), "manifest-hidden": manifest(hidden_size=13), "manifest-mode": manifest(weight_mode="loud"),
    "manifest-no-experts": manifest(experts=[]), "manifest-sha": manifest(tensors_sha256="1" * 64), "manifest-probes": manifest(golden_probes=99),
    "tensors-missing": remove(TENSORS), "tensors-flipped": raw(TENSORS, flipped), "tensors-cut": cut(TENSORS, 0.7),
    "tensors-nan": both(edit(TENSORS, with_number(b"\xc0\x7f")), manifest(rehash=True)),
    "tensors-renamed": both(edit(TENSORS, renamed), manifest(rehash=True)),
    "tensors-shape": both(edit(TENSORS, swapped_shape), manifest(rehash=True)),
}
