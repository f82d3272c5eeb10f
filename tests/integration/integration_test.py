"""The real programs together, as a user would run them. One case a call; see CMakeLists.txt.

A seeded random base of tiny shape with a byte-level tokenizer, seeded experts and a router: everything but the skill is real.
"""
import argparse
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

EXPERTS = ["medicine", "law", "code"]


class World:
    def __init__(self, args):
        self.args = args
        self.work = os.path.abspath(args.work)
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        self.base = os.path.join(self.work, "base")
        self.fixtures = os.path.join(self.work, "fixtures")
        self.run([args.import_tool, "random-base", self.base, "--shape", "tiny", "--seed", "3"])
        self.run([args.import_tool, "fixtures", self.base, self.fixtures, *sum((["--expert", f"{e}:{4 + 2 * i}"] for i, e in enumerate(EXPERTS)), []),
                  "--router", "dense2moe_mlp", "--top-k", "2", "--seed", "5"])

    @staticmethod
    def run(command, expect=0, **kwargs):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, **kwargs)
        assert done.returncode == expect, f"{command}\nexit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}"
        return done

    def server_command(self, *extra, listen="127.0.0.1:0"):
        experts = sum((["--expert", f"{e}={self.fixtures}/experts/{e}"] for e in EXPERTS), [])
        return [self.args.server, "--base", self.base, "--listen", listen, "--metrics", "127.0.0.1:0", *experts, "--zero", "zero",
                "--router", f"{self.fixtures}/router", *extra]


class Server:
    def __init__(self, world, *extra, listen="127.0.0.1:0", log="server.log"):
        self.log = open(os.path.join(world.work, log), "w+", encoding="utf-8")
        self.process = subprocess.Popen(world.server_command(*extra, listen=listen), stdout=subprocess.PIPE, stderr=self.log, text=True)
        ready, _, _ = select.select([self.process.stdout], [], [], 120)
        assert ready, "the server printed nothing within 120 s\n" + self.tail()
        line = self.process.stdout.readline()
        assert line, "the server ended before serving\n" + self.tail()
        self.serving = json.loads(line)
        self.address = f"127.0.0.1:{self.serving['grpc_port']}"

    def tail(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as f:
            return f.read()[-4000:]

    def metrics(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.serving['metrics_port']}/metrics", timeout=20) as reply:
            text = reply.read().decode()
        values = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        code = self.process.wait(timeout=60)
        rest = self.process.stdout.read()
        assert rest == "", f"one JSON line on standard output, then nothing; found {rest!r}"
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


def client(world, server, *arguments, expect=0, **kwargs):
    env = {**os.environ, "SWITCHYARD_SERVER": server.address, "NO_COLOR": "1"}
    return world.run([world.args.client, *arguments], expect=expect, env=env, **kwargs)


def lifecycle(world):
    with Server(world) as server:
        assert server.serving["event"] == "serving" and server.serving["grpc_port"] > 0 and server.serving["metrics_port"] > 0, server.serving
        model = client(world, server, "model").stdout
        for name in EXPERTS + ["zero"]:
            assert name in model, model
        assert server.stop() == 0, server.tail()
    with Server(world) as server:
        assert server.stop(signal.SIGINT) == 0, server.tail()


def requests(world):
    with Server(world) as server:
        # The same request gives the same text again; JSON out is proto3-JSON.
        texts = [json.loads(client(world, server, "generate", "--max-tokens", "12", "--json", "seven bees").stdout)["tokens"] for _ in range(2)]
        assert texts[0] == texts[1] and 1 <= len(texts[0]) <= 12, texts
        inputs = os.path.join(world.work, "score.jsonl")
        outputs = os.path.join(world.work, "score.out.jsonl")
        with open(inputs, "w", encoding="utf-8") as f:
            for i in range(20):
                f.write(json.dumps({"id": f"q{i}", "text": f"question {i % 5} is", "continuations": [{"text": " one"}, {"text": " eleven"}],
                                    "unconditionalText": "Answer:"}) + "\n")
        client(world, server, "score", "--input", inputs, "--output", outputs)
        with open(outputs, encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        assert [row["id"] for row in rows] == [f"q{i}" for i in range(20)]
        for i, row in enumerate(rows):   # equal questions, equal answers, whatever the batch and the cache
            assert row["scores"] == rows[i % 5]["scores"], (i, row["scores"], rows[i % 5]["scores"])
            assert all("pmi" in s and "perByte" in s for s in row["scores"])
            assert row["generations"]["snapshot"] == server.serving["generation"]
        # Resume: a torn file is completed, and equal.
        with open(outputs, encoding="utf-8") as f:
            whole = f.read()
        with open(outputs, "w", encoding="utf-8") as f:
            f.write("".join(line + "\n" for line in whole.splitlines()[:7]) + whole.splitlines()[7][:30])
        client(world, server, "score", "--input", inputs, "--output", outputs)
        with open(outputs, encoding="utf-8") as f:
            again = [json.loads(line) for line in f]
        assert [r["scores"] for r in again] == [r["scores"] for r in rows]
        # Routes: shares add up.
        route = json.loads(client(world, server, "route", "--level", "token", "--json", "a dose of law").stdout)
        tokens = route["routes"]["tokens"]
        assert "".join(token["text"] for token in tokens) == "a dose of law", tokens
        assert int(route["usage"]["promptTokens"]) == len(tokens) and len(route["routes"]["layers"]) == 3, route["usage"]
        for token in tokens:
            for layer in token["layers"]:
                assert len(layer["experts"]) == 2 and abs(sum(layer["weights"]) - 1) < 1e-5, layer
        # Errors name what and what to do.
        done = subprocess.run(
            [world.args.client, "generate", "--routing", "expert=astrology", "x"], capture_output=True, text=True, timeout=60,
            env={**os.environ, "SWITCHYARD_SERVER": server.address})
        assert done.returncode != 0 and "astrology" in done.stderr and "medicine" in done.stderr, done
        values = server.metrics()
        routed = sum(v for k, v in values.items() if k.startswith("switchyard_route_tokens_total"))
        assert routed > 0, "no routed tokens counted"
        assert server.stop() == 0, server.tail()


def stress(world):
    with Server(world, "--max-queue", "32") as server:
        done = world.run([world.args.stress, server.address, "64", "12", str(os.getpid())])
        counts = json.loads(done.stdout)
        assert counts.get("generate:0", 0) > 0 and counts.get("score:0", 0) > 0, counts
        print(counts)
        # Cancels are carried out at the next step border: everything drains at once, and no KV stays behind.
        deadline = time.monotonic() + 30
        while True:
            values = server.metrics()
            left = {k: values[k] for k in values if re.match(r"switchyard_(queued_tasks|running_tasks|kv_blocks\{.*used.*)", k)}
            assert len(left) >= 3, sorted(values)
            if all(v == 0 for v in left.values()):
                break
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        client(world, server, "generate", "--max-tokens", "3", "still here")
        assert server.stop() == 0, server.tail()


class RollingClient:
    """Clients that never pause, balanced by gRPC over several servers; see rolling_client.cc."""

    def __init__(self, world, ports):
        target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        command = [world.args.rolling, target, os.path.join(world.args.source, "deploy/client/service_config.json"), "8"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def counts(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def wait_for(self, ports, more=40):
        """Until each of these servers has given `more` answers more than now."""
        before = self.counts()["peers"]
        deadline = time.monotonic() + 60
        while True:
            now = self.counts()
            assert now["failed"] == 0, now
            if all(now["peers"].get(port, 0) >= before.get(port, 0) + more for port in ports):
                return
            assert time.monotonic() < deadline, (ports, before, now)
            time.sleep(0.05)

    def finish(self):
        out, _ = self.process.communicate(timeout=120)
        return json.loads(out.splitlines()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def rolling(world):
    """Two servers are restarted one after the other, twice, under clients that balance themselves: not one call fails."""
    config = os.path.join(world.work, "config.json")
    with open(config, "w", encoding="utf-8") as f:
        # A young connection's end, too, must cost nothing: it is how clients learn of new servers.
        json.dump({"drain_delay_seconds": 1, "drain_seconds": 60, "max_connection_age_seconds": 2, "threads": 1, "log_requests": 0}, f)
    generation = 0

    def start(port=0):
        nonlocal generation
        generation += 1
        return Server(world, "--config", config, listen=f"127.0.0.1:{port}", log=f"server{generation}.log")

    servers = {}
    try:
        for _ in range(2):
            server = start()
            servers[str(server.serving["grpc_port"])] = server
        with RollingClient(world, servers) as clients:
            clients.wait_for(servers)
            for port in [*servers, *servers]:
                assert servers[port].stop() == 0, servers[port].tail()
                assert '"complete":true' in servers[port].tail(), servers[port].tail()
                servers[port].log.close()
                clients.wait_for([other for other in servers if other != port])
                servers[port] = start(port)
                clients.wait_for(servers)
            counts = clients.finish()
        print(counts)
        assert counts["failed"] == 0 and counts["ok"] >= 400, counts
        for server in servers.values():
            assert server.stop() == 0, server.tail()
    finally:
        for server in servers.values():
            server.__exit__()


def bad_start(world):
    """Nothing half-loads: each damage is refused by name, with exit code 1 and no serving line."""
    def refused(command, *words):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode not in (0, -6, -11), (command, done.returncode, done.stderr[-2000:])
        assert done.stdout == "", done.stdout
        for word in words:
            assert word in done.stderr, f"{word!r} is missing in:\n{done.stderr[-2000:]}"

    refused([a.replace(world.base, os.path.join(world.work, "nowhere")) for a in world.server_command()], "nowhere")
    refused(world.server_command("--no-such-flag"), "--no-such-flag")
    damaged = os.path.join(world.work, "damaged")
    shutil.copytree(world.fixtures, damaged)
    weights = os.path.join(damaged, "router", "router.safetensors")
    with open(weights, "r+b") as f:
        f.seek(-3, os.SEEK_END)
        f.write(b"\xff\xff\xff")
    refused([a.replace(f"{world.fixtures}/router", f"{damaged}/router") for a in world.server_command()], "router")
    with open(os.path.join(damaged, "experts", "law", "adapter_model.safetensors"), "r+b") as f:
        f.truncate(100)
    refused([a.replace(f"{world.fixtures}/experts/law", f"{damaged}/experts/law") for a in world.server_command()], "adapter_model.safetensors")
    # A router bound to other experts: both lists are named.
    swapped = world.server_command()
    swapped = [a.replace("medicine=", "astrology=") for a in swapped]
    refused(swapped, "astrology", "medicine")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=["lifecycle", "requests", "stress", "rolling", "bad_start"])
    for name in ("server", "client", "import-tool", "stress", "rolling", "source", "work"):
        parser.add_argument(f"--{name}", required=True)
    parsed = parser.parse_args()
    globals()[parsed.case](World(parsed))
    print(f"{parsed.case}: passed")
    sys.exit(0)
