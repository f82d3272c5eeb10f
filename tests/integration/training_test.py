"""The trainer and the server together, as a user would run them: train, kill and go on, serve, and compare the routes. One case a call.

A seeded random base of tiny shape and the small demonstration world.
"""
import argparse
import itertools
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time

DOMAINS = ["formulary", "statutes"]


class World:
    def __init__(self, args):
        self.args = args
        self.work = os.path.abspath(args.work)
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        self.base, self.data = f"{self.work}/base", f"{self.work}/world"
        self.run([args.import_tool, "random-base", self.base, "--shape", "tiny", "--seed", "3"])
        self.run([args.trainer, "demo-data", self.data, "--small"])

    @staticmethod
    def run(command, expect=0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == expect, f"{command}\nexit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}"
        return done

    def files(self, part, domains):
        return [f"{d}={self.data}/{d}/{part}.jsonl" for d in domains]

    def expert_command(self, name, domains, steps, *extra):
        data = sum((["--data", f] for f in self.files("train", domains)), []) + sum((["--validation", f] for f in self.files("valid", domains)), [])
        return [self.args.trainer, "expert", "--base", self.base, "--name", name, "--out", f"{self.work}/{name}", "--rank", "4", "--steps", str(steps),
                "--evaluate-every", "5", *data, *extra]

    def expert(self, name, domains, steps, *extra):
        return self.run(self.expert_command(name, domains, steps, *extra))

    def experts(self):
        return sum((["--expert", f"{d}={self.work}/{d}"] for d in DOMAINS), [])

    def router(self, name, *extra, steps=6):
        data = sum((["--data", f] for f in self.files("train", [*DOMAINS, "general"])), [])
        return self.run([self.args.trainer, "router", "--base", self.base, *self.experts(), *data, "--out", f"{self.work}/{name}", "--name", name,
                         "--steps", str(steps), "--evaluate-every", "0", *extra])


def bytes_of(path):
    return {p.name: p.read_bytes() for p in sorted(pathlib.Path(path).iterdir()) if p.is_file()}


def case_resume(world):
    """A run that is killed and started again publishes the bytes of one that was not."""
    world.expert("whole", DOMAINS, 40, "--checkpoint-every", "4", "--dropout", "0.1")
    command = world.expert_command("killed", DOMAINS, 40, "--checkpoint-every", "4", "--dropout", "0.1")
    command[command.index("--name") + 1] = "whole"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = pathlib.Path(world.work) / "killed.run/checkpoints"
    for _ in range(2000):
        if checkpoints.is_dir() and any(p.name >= "step-000000008" for p in checkpoints.iterdir()):
            break
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not os.path.exists(f"{world.work}/killed")
    world.run(command)
    log = [json.loads(line) for line in open(f"{world.work}/killed.run/log.jsonl", encoding="utf-8")]
    assert any(line.get("event") == "resumed" for line in log), log
    assert bytes_of(f"{world.work}/whole") == bytes_of(f"{world.work}/killed")
    assert not checkpoints.exists(), "checkpoints of a finished run are removed"
    done = world.run(world.expert_command("whole", DOMAINS, 4), expect=1)
    assert "is there already" in done.stderr, done.stderr


def serve(world, router):
    command = [world.args.server, "--base", world.base, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", *world.experts(), "--zero", "zero", "--router", router]
    with open(f"{world.work}/server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    ready, _, _ = select.select([process.stdout], [], [], 120)
    line = process.stdout.readline() if ready else ""
    assert line, "the server did not start:\n" + open(f"{world.work}/server.log", encoding="utf-8").read()[-3000:]
    return process, f"127.0.0.1:{json.loads(line)['grpc_port']}"


def compare_routes(world, name, router):
    """Routes of the trainer's evaluation and of the Route call agree token for token."""
    routes = f"{world.work}/{name}.jsonl"
    data = sum((["--data", f] for f in world.files("test", [*DOMAINS, "general"])), [])
    done = world.run([world.args.trainer, "evaluate", "--base", world.base, *world.experts(), "--router", router, *data, "--max-records", "20", "--routes", routes])
    assert "routing/max_vio" in done.stdout, done.stdout
    ours = [json.loads(line) for line in open(routes, encoding="utf-8")]
    requests = f"{world.work}/{name}.requests.jsonl"
    with open(requests, "w", encoding="utf-8") as out:
        for line in ours:
            out.write(json.dumps({"tokens": {"ids": line["tokens"]}, "level": "ROUTE_LEVEL_TOKEN"}) + "\n")
    process, address = serve(world, router)
    try:
        world.run([world.args.client, "route", "--server", address, "--input", requests, "--output", f"{world.work}/{name}.replies.jsonl"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    compared = ties = followed = 0
    for line, text in zip(ours, open(f"{world.work}/{name}.replies.jsonl", encoding="utf-8"), strict=True):
        tokens = json.loads(text)["routes"]["tokens"]
        assert [t["token"] for t in tokens] == line["tokens"]
        other = False
        for row, layer in itertools.product(range(len(tokens)), range(len(line["layers"]))):
            theirs, margin = tokens[row]["layers"][layer], line["margin"][layer][row]
            chosen = [e for e in line["layers"][layer][row] if e >= 0]  # -1: a slot without expert
            # As sets: two chosen ones of equal weight may change places.
            same = sorted(theirs.get("experts", [])) == sorted(chosen)
            tie = margin is not None and min(margin, theirs.get("margin", margin)) < 1e-3  # within rounding
            assert same or tie or other, (name, row, layer, theirs, line["layers"][layer][row], margin)
            ties += tie
            compared += same and not tie
            followed += not same and not tie
            other = other or not same  # what follows in this text was computed from other numbers
    assert compared > 1000 and ties < compared / 20 and followed < compared / 20, (compared, ties, followed)
    print(f"{name}: {compared} routes agree, {ties} ties within rounding, {followed} differ behind a tie that fell otherwise")


def case_routes(world):
    """Trained routers are served as they were trained."""
    for domain in DOMAINS:
        world.expert(domain, [domain], 8)
    world.router("top1", "--label-loss", "0.1", "--label-steps", "4", steps=8)
    world.router("top2", "--top-k", "2", "--balance", "0.01")
    world.router("linear", "--kind", "linear", "--gate", "raw", "--z-loss", "0.001")
    world.router("lossfree", "--kind", "linear", "--top-k", "2", "--balance", "loss-free", "--balance-rate", "0.05")
    world.router("maxscore", "--kind", "linear", "--top-k", "2", "--dispatch", "max-score")
    world.router("choice", "--kind", "expert_choice", "--top-k", "2", "--label-loss", "0.1", "--label-steps", "4")
    world.router("stage1", "--kind", "linear", "--gate", "sigmoid", "--balance", "0.3")
    done = world.router("stable", "--kind", "stablemoe", "--init", f"{world.work}/stage1/router", steps=3)
    assert "repeat" in done.stderr + done.stdout, done.stderr
    world.router("latent", "--kind", "lpr", "--top-k", "2", "--label-loss", "0.1", "--score-variance", "0.1", "--latent-dimension", "4")
    for name in ("top1", "top2", "linear", "lossfree", "maxscore", "choice", "stage1", "stable", "latent"):
        compare_routes(world, name, f"{world.work}/{name}/router")


def case_losses(world):
    """Losses beside the answers' are logged by name and told by the manifest; a placement is reported of the router's routes."""
    for domain in DOMAINS:
        world.expert(domain, [domain], 8)
    world.router("start", "--top-k", "2", "--label-loss", "0.1", "--label-steps", "4", steps=6)
    world.router("held", "--top-k", "2", "--init", f"{world.work}/start/router", "--train", "router_mlp", "--score-variance", "0.2", "--expert-orthogonality", "0.01", "--roma", "0.8",
                 "--roma-right", "0.01", steps=4)
    lines = [json.loads(line) for line in open(f"{world.work}/held.run/log.jsonl", encoding="utf-8")]
    steps = [line for line in lines if "train/router_loss" in line]
    assert len(steps) == 4, lines
    for step in steps:
        parts = {name.removeprefix("train/router_loss/"): value for name, value in step.items() if name.startswith("train/router_loss/")}
        assert parts.keys() == {"score_variance", "orthogonality", "roma"}, parts
        assert parts["score_variance"] < 0 < min(parts["orthogonality"], parts["roma"]), parts
        assert abs(sum(parts.values()) - step["train/router_loss"]) < 1e-5, step
    told = json.load(open(f"{world.work}/held/router/router.json", encoding="utf-8"))["training"]
    assert told["score-variance"] == "0.2" and told["roma"] == "0.8" and told["expert-orthogonality"] == "0.01" and told["steps"] == "4", told

    data = sum((["--data", f] for f in world.files("test", [*DOMAINS, "general"])), [])
    out = f"{world.work}/placement"
    command = [world.args.trainer, "placement", "--base", world.base, *world.experts(), "--router", f"{world.work}/start/router", *data, "--max-records", "20", "--out", out]
    done = world.run([*command, "--devices", "2"])
    assert "| grouped |" in done.stdout and "## Layer" not in done.stdout, done.stdout
    assert "## Layer 0" in open(f"{out}/placement.md", encoding="utf-8").read()
    report = json.load(open(f"{out}/placement.json", encoding="utf-8"))
    assert report["experts"] == list(DOMAINS) and report["tokens"] > 1000, report["tokens"]
    for layer in report["layers"]:
        (a, both), (both_again, b) = layer["co_activation"]
        assert both == both_again <= min(a, b) and sorted(layer["groups"]) == [0, 1], layer
        # Two experts on two devices: each application leaves home half of the time.
        sends = (a + b) / 2 / report["tokens"]
        assert abs(layer["traffic"]["grouped"]["sends_per_token"] - sends) < 1e-9, (layer, sends)
        assert layer["traffic"]["replicated"]["sends_per_token"] <= layer["traffic"]["grouped"]["sends_per_token"], layer
    assert "is there already" in world.run(command, expect=1).stderr
    refused = [*command]
    refused[refused.index("--out") + 1] = f"{world.work}/nowhere"
    assert "--devices" in world.run([*refused, "--devices", "0"], expect=1).stderr
    assert not os.path.exists(f"{world.work}/nowhere")


def case_calibrated(world):
    """Routers that are made without training are served as they were made, and an expert joins one."""
    for domain in DOMAINS:
        world.expert(domain, [domain], 8)
    data = sum((["--data", f] for f in world.files("train", [*DOMAINS, "general"])), [])
    calibrate = [world.args.trainer, "calibrate", "--base", world.base]
    for kind, extra in [("arrow", []), ("aoe", []), ("ermoe", ["--top-k", "2"]), ("gmm", ["--dimensions", "4"]), ("phatgoose", ["--steps", "4"]),
                        ("hash", ["--table", "frequency"])]:
        done = world.run([*calibrate, *world.experts(), *data, "--kind", kind, "--out", f"{world.work}/{kind}", "--rows", "300", *extra])
        assert f"{kind} router" in done.stdout, done.stdout
        assert not os.path.exists(f"{world.work}/{kind}.run")
        if kind in ("aoe", "gmm", "hash"):
            compare_routes(world, kind, f"{world.work}/{kind}")
    world.run([*calibrate, *world.experts(), "--kind", "arrow", "--zero-score", "0.5", "--out", f"{world.work}/bare"])  # needs no data

    # A router made for the first expert, with the second added, is the one made for both: here without zero, so that the positions are the same.
    first = ["--expert", f"{DOMAINS[0]}={world.work}/{DOMAINS[0]}", "--no-zero"]
    world.run([*calibrate, *first, "--kind", "arrow", "--out", f"{world.work}/one"])
    world.run([*calibrate, "--add", f"{DOMAINS[1]}={world.work}/{DOMAINS[1]}", "--to", f"{world.work}/one", "--out", f"{world.work}/grown"])
    world.run([*calibrate, *world.experts(), "--no-zero", "--kind", "arrow", "--out", f"{world.work}/both"])
    assert bytes_of(f"{world.work}/grown") == bytes_of(f"{world.work}/both")

    for extra, wanted in [
        (["--kind", "oracle"], "oracle"),
        (["--kind", "arrow"], "--zero-score"),
        (["--kind", "phatgoose"], "--data NAME=PATH"),
        (["--kind", "gmm", "--data", world.files("train", ["general"])[0]], f"--data {DOMAINS[0]}=PATH"),
        (["--kind", "hash"], "--data"),
        (["--kind", "hash", "--table", "random", "--top-k", "2"], "--top-k"),
        (["--add", "a=b"], "belong together"),
    ]:
        done = world.run([*calibrate, *world.experts(), "--out", f"{world.work}/x", *extra], expect=1)
        assert wanted in done.stderr, (extra, done.stderr)
        assert not os.path.exists(f"{world.work}/x"), extra


def case_eval(world):
    """The table's cells are what `score` counts; oracle is the experts' diagonal; a state is continued, and refused when it is another's."""
    for domain in DOMAINS:
        world.expert(domain, [domain], 8)
    world.router("top1", "--label-loss", "0.1", "--label-steps", "4", steps=6)
    process, address = serve(world, f"{world.work}/top1/router")
    state, table, columns = f"{world.work}/state.jsonl", f"{world.work}/table.json", [*DOMAINS, "general"]
    client = [world.args.client, "eval", "--server", address, "--state", state, "--limit", "20", "--judge", "sum", "--judge", "letter"]
    sets = sum((["--set", f"{d}={world.data}/{d}/test.jsonl"] for d in columns), [])
    try:
        first = world.run([*client, *sets, "--rows", "standard", "--json", table, "--markdown", f"{world.work}/table.md"])
        lines = open(state, encoding="utf-8").read().splitlines()
        rows = [row["label"] for row in json.load(open(table, encoding="utf-8"))["rows"]]
        assert rows == ["base", "oracle", *DOMAINS, "learned"], rows
        assert len(lines) == 1 + len(rows) * sum(min(20, sum(1 for _ in open(f"{world.data}/{d}/test.jsonl", encoding="utf-8"))) for d in columns), len(lines)

        def cells(text, row, table_index=0):
            found = [line.split() for line in text.splitlines() if line.startswith(row + " ")]
            return [float(v) for v in found[table_index][1:] if not v.startswith("±")]

        for row, routing in [("base", "base"), ("learned", "learned"), ("formulary", "expert=formulary")]:
            for column, domain in enumerate(columns):
                output = f"{world.work}/score.jsonl"
                world.run([world.args.client, "score", "--server", address, "--mcq", f"{world.data}/{domain}/test.jsonl", "--limit", "20", "--routing", routing,
                           "--judge", "both", "--output", output])
                answers = [json.loads(line) for line in open(output, encoding="utf-8")]
                for index, judge in enumerate(["text_sum", "letter"]):
                    wanted = 100 * sum(a["winners"][judge] == a["answer"] for a in answers) / len(answers)
                    assert abs(cells(first.stdout, row, index)[column] - wanted) < 0.06, (row, domain, judge, wanted, first.stdout)
        oracle = [cells(first.stdout, d)[i] for i, d in enumerate(DOMAINS)] + [cells(first.stdout, "base")[2]]
        assert cells(first.stdout, "oracle")[:3] == oracle, first.stdout

        # Torn off and begun again, the table is the same and only what is missing is asked.
        pathlib.Path(state).write_text("\n".join(lines[:40]) + "\n" + lines[40][:10], encoding="utf-8")
        again = world.run([*client, *sets, "--rows", "standard"])
        assert again.stdout == first.stdout, again.stdout
        assert len(open(state, encoding="utf-8").read().splitlines()) == len(lines)
        other = subprocess.run([*client, *sets, "--row", "x=base"], capture_output=True, text=True, timeout=120, check=False)
        assert other.returncode != 0 and "state" in other.stderr, other.stderr
        missing = subprocess.run([*client[:4], *sets, "--row", "x=expert=nobody"], capture_output=True, text=True, timeout=120, check=False)
        assert missing.returncode != 0 and "nobody" in missing.stderr, missing.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def case_joint(world):
    """Everything that can be trained beside a router is published with it, and loads."""
    for domain in DOMAINS:
        world.expert(domain, [domain], 3)
    world.router("joint", "--train", "router_mlp_attention", "--new-expert", "fresh:2")
    root = pathlib.Path(world.work) / "joint"
    assert sorted(p.name for p in (root / "experts").iterdir()) == ["formulary", "fresh", "statutes"]
    process, _ = None, None
    command = [world.args.server, "--base", f"{root}/base", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0",
               *sum((["--expert", f"{e}={root}/experts/{e}"] for e in (*DOMAINS, "fresh")), []), "--zero", "zero", "--router", f"{root}/router"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ready, _, _ = select.select([process.stdout], [], [], 120)
    line = process.stdout.readline() if ready else ""
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert json.loads(line or "{}").get("event") == "serving", errors[-3000:]
    # The same router on the base it was not trained on is refused.
    command[command.index("--base") + 1] = world.base
    done = world.run(command, expect=1)
    assert "base" in done.stderr, done.stderr


def case_data_parallel(world):
    """Two processes under mpirun take the steps of one: the same losses, up to the order of sums, and one set of files."""
    mpirun = shutil.which("mpirun")
    if mpirun is None or "libmpi" not in subprocess.run(["ldd", world.args.trainer], capture_output=True, text=True, check=True).stdout:
        print("skipped: the trainer was built without MPI, or there is no mpirun")
        sys.exit(77)
    # Open MPI leaves small blocks behind at its end, out of plug-ins that are unloaded by then and cannot be named in a suppression.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    launch = [mpirun, "-n", "2", "--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]

    def losses(name):
        lines = [json.loads(line) for line in open(f"{world.work}/{name}.run/log.jsonl", encoding="utf-8")]
        steps = [(line["train/loss"], line["train/gradient_norm"]) for line in lines if "train/loss" in line]
        return steps, [line["validation/loss"] for line in lines if "validation/loss" in line]

    def compare(one, two, count):
        (steps, validation), (steps2, validation2) = losses(one), losses(two)
        assert len(steps) == len(steps2) == count and len(validation) == len(validation2), (len(steps), len(steps2))
        for a, b in [*zip(steps, steps2, strict=True), *zip([(v,) for v in validation], [(v,) for v in validation2], strict=True)]:
            assert all(abs(x - y) <= 1e-3 * abs(x) for x, y in zip(a, b, strict=True)), (one, a, b)
        assert len({loss for loss, _ in steps}) > count / 2, steps

    one = ["--threads", "1", "--tokens-per-pass", "64"]
    world.expert("one", DOMAINS, 10, *one)
    world.run([*launch, *world.expert_command("two", DOMAINS, 10, *one)])
    compare("one", "two", 10)
    for domain in DOMAINS:
        world.expert(domain, [domain], 3)
    world.router("router-one", *one, "--z-loss", "0.001", "--label-loss", "0.1", "--router-dropout", "0", steps=6)
    mpi_world = World.__new__(World)
    mpi_world.__dict__.update(world.__dict__)
    mpi_world.run = lambda command: world.run([*launch, *command])
    mpi_world.router("router-two", *one, "--z-loss", "0.001", "--label-loss", "0.1", "--router-dropout", "0", steps=6)
    compare("router-one", "router-two", 6)
    # One process that fails ends the others, which would wait for it for ever.
    failed = subprocess.run([*launch, *world.expert_command("failing", DOMAINS, 10, *one), "--prometheus-textfile", f"{world.work}/nowhere/x.prom"],
                            capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode != 0 and "nowhere/x.prom" in failed.stderr, failed
    evaluate = [world.args.trainer, "evaluate", "--base", world.base, *world.experts(), "--router", f"{world.work}/router-two/router", "--data", world.files("test", DOMAINS)[0]]
    assert world.run([*launch, *evaluate]).stdout.count("routing/max_vio") == world.run(evaluate).stdout.count("routing/max_vio") == 1


def case_bad_input(world):
    """Wrong flags and files are refused with what to do, and nothing is left half-made."""
    trainer, data = world.args.trainer, world.files("train", ["general"])[0]
    common = ["--base", world.base, "--data", data, "--out", f"{world.work}/x"]
    for command, wanted in [
        (["expert", *common, "--modules", "gate,nose"], "gate, up and down"),
        (["expert", *common, "--rank", "0"], "--rank"),
        (["expert", *common, "--target", "novel"], "novel"),
        (["expert", "--base", world.base, "--data", f"{world.work}/absent.jsonl", "--out", f"{world.work}/x"], "absent.jsonl"),
        (["router", *common], "at least two experts"),
        (["router", *common, "--new-expert", "a", "--top-k", "3"], "top_k"),
        (["router", *common, "--new-expert", "a", "--gate", "renorm"], "no gradient"),
        (["router", *common, "--new-expert", "a", "--kind", "oracle"], "oracle"),
        (["router", *common, "--new-expert", "a", "--balance", "much"], "or loss-free"),
        (["router", *common, "--new-expert", "a", "--balance", "loss-free"], "kind linear"),
        (["router", *common, "--new-expert", "a", "--label-loss", "1"], "bears the name"),
        (["router", *common, "--new-expert", "a", "--expert-orthogonality", "1"], "--train router_mlp"),
        (["router", *common, "--new-expert", "a", "--train", "router_mlp", "--expert-orthogonality", "1"], "--top-k 2"),
        (["router", *common, "--new-expert", "a", "--roma", "1", "--roma-sigma", "0"], "sigma above 0"),
        (["evaluate", "--base", f"{world.work}/nowhere", "--data", data], "nowhere"),
    ]:
        done = world.run([trainer, *command], expect=1)
        assert wanted in done.stderr, (command, done.stderr)
        assert not os.path.exists(f"{world.work}/x"), command
    broken = f"{world.work}/broken.jsonl"
    good = open(f"{world.data}/general/train.jsonl", encoding="utf-8").read().splitlines()[:20]
    pathlib.Path(broken).write_text("\n".join([*good, "{not json", '{"question": "no options"}']) + "\n", encoding="utf-8")
    done = world.run([trainer, "expert", "--base", world.base, "--data", broken, "--out", f"{world.work}/y", "--steps", "1"])
    assert "2 that cannot be used" in done.stderr and "broken.jsonl:21" in done.stderr, done.stderr
    # Also where nothing else is said, and every one of them in a file.
    for command in (["expert", "--base", world.base, "--data", broken, "--out", f"{world.work}/z", "--steps", "1", "--quiet"],
                    ["evaluate", "--base", world.base, "--data", broken]):
        done = world.run([trainer, *command])
        assert "2 that cannot be used" in done.stderr and "broken.jsonl:22" in done.stderr, (command, done.stderr)
    left_out = [json.loads(line) for line in open(f"{world.work}/z.run/left_out.jsonl", encoding="utf-8")]
    assert [bad["line"] for bad in left_out] == [21, 22], left_out
    events = [json.loads(line) for line in open(f"{world.work}/z.run/log.jsonl", encoding="utf-8")]
    assert any(e.get("event") == "data" and "broken.jsonl:21" in e["message"] for e in events), events


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("case")
    for flag in ("trainer", "server", "client", "import-tool", "work"):
        parser.add_argument(f"--{flag}", required=True)
    arguments = parser.parse_args()
    os.environ["GOMP_SPINCOUNT"] = "0"
    globals()[f"case_{arguments.case}"](World(arguments))
    print("ok")
    sys.exit(0)
