"""Watching: rules, dashboards, and every query of both against a real Prometheus that scrapes a real server under load. One case a call.

Exit code 77 (skipped) where Prometheus is missing; tools/setup unpacks Debian's.
"""
import argparse
import http.server
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from integration_test import EXPERTS, Server, World

SKIPPED = 77
DASHBOARDS = ["serving", "routing", "swaps", "training"]
# What a dashboard's variables stand for here.
VARIABLES = {"$__rate_interval": "1m", "$job": "switchyard", "$instance": ".*", "$role": "stable", "$run": ".*"}
# Series that this test cannot bring about, with the reason. Everything else must have been there.
NOT_HERE = {
    "switchyard_tls_certificate_expiry_timestamp_seconds": "the server of this test speaks plain text; tests/server/metrics_test.cc looks at it",
    "switchyard_tls_files_usable": "the same",
    "switchyard_trainer_router_loss": "the run trains an expert, which has no router losses; tests/trainer/log looks at it",
    "switchyard_trainer_router_loss_part": "the same",
    "switchyard_trainer_routing_max_violation_ratio": "the same",
    "switchyard_trainer_routing_collapse_ratio": "the same",
    "switchyard_trainer_routing_entropy_nats": "the same",
    "switchyard_trainer_routing_load_share_ratio": "the same",
}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def find_tool(name):
    found = shutil.which(name)
    if found:
        return found
    cache = os.environ.get("SWITCHYARD_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "switchyard")
    path = os.path.join(cache, "prometheus", "usr", "bin", name)
    if os.access(path, os.X_OK):
        return path
    print(f"no {name} here (tools/setup unpacks it): skipped")
    sys.exit(SKIPPED)


def within(seconds, what, poll):
    """Calls `poll` until it returns something true; what it returned last is in the message when that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        done, state = poll()
        if done:
            return state
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s: {state}"
        time.sleep(0.1)


# ------------------------------------------------------------------------------------------------------------------------- the files alone

def metric_names(expression):
    """Names of metrics and recorded series in an expression."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:[a-z_]+:)?switchyard_[a-z_]+(?:_[a-z]+)*(?::[a-z0-9_]+)?|\bup\b", bare))


def read_rules(root):
    """[(file, kind, name, expression)] of the rule files, as promtool sees them: it has checked the YAML, so lines will do."""
    rules = []
    for file in ("rules.yml", "alerts.yml"):
        kind = name = expression = None
        block = None
        for line in (root / "deploy/prometheus" / file).read_text(encoding="utf-8").splitlines():
            indent = len(line) - len(line.lstrip())
            if block is not None and line.strip() and indent > block:
                expression.append(line.strip())
                continue
            if block is not None:
                rules.append((file, kind, name, " ".join(expression)))
                block = None
            if m := re.match(r"\s+- (record|alert): (\S+)$", line):
                kind, name = m.groups()
            elif m := re.match(r"(\s+)expr: (.*)$", line):
                if m.group(2) == "|":
                    block, expression = len(m.group(1)), []
                else:
                    rules.append((file, kind, name, m.group(2)))
        if block is not None:
            rules.append((file, kind, name, " ".join(expression)))
    return rules


def case_rules(args):
    """promtool accepts the rules and their tests; every alert fires in one test, is silent in another, and has a runbook."""
    promtool = find_tool("promtool")
    root = pathlib.Path(args.source)
    directory = root / "deploy/prometheus"
    for command in (["check", "rules", "rules.yml", "alerts.yml"], ["test", "rules", "rules_test.yml", "alerts_test.yml"]):
        done = subprocess.run([promtool, *command], cwd=directory, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    rules = read_rules(root)
    tests = (directory / "alerts_test.yml").read_text(encoding="utf-8")
    recorded = (directory / "rules_test.yml").read_text(encoding="utf-8")
    runbook = (root / "docs/alerts.md").read_text(encoding="utf-8")
    alerts = [name for _, kind, name, _ in rules if kind == "alert"]
    assert len(alerts) >= 10 and len(rules) > len(alerts), rules
    for name in alerts:
        assert f"  - name: {name} fires\n" in tests, f"{name} has no test in which it fires"
        assert f"  - name: {name} stays silent, " in tests, f"{name} has no test in which it stays silent"
        assert f"\n## {name}\n" in runbook, f"docs/alerts.md has no section {name}"
        assert f"docs/alerts.md#{name.lower()}\n" in (directory / "alerts.yml").read_text(encoding="utf-8"), name
    assert re.findall(r"^## (\w+)$", runbook, re.M) == alerts, "docs/alerts.md: sections and alerts differ"
    for _, kind, name, _ in rules:
        if kind == "record":
            assert re.search(rf"expr: '?{re.escape(name)}\b", recorded), f"{name} has no test in rules_test.yml"
    documented = set(re.findall(r"^\| `(switchyard_[a-z_]+)`", (root / "docs/metrics.md").read_text(encoding="utf-8"), re.M))
    names = {name for _, _, name, _ in rules}
    for _, _, name, expression in rules:
        for metric in metric_names(expression) - names - {"up"}:
            assert re.sub(r"_(bucket|sum|count)$", "", metric) in documented, f"{name}: {metric} is not in docs/metrics.md"


def load_dashboards(root):
    return {name: json.loads((root / "deploy/grafana" / f"{name}.json").read_text(encoding="utf-8")) for name in DASHBOARDS}


def queries_of(dashboard):
    """[(where, expression)] of the panels and annotations."""
    found = [(f"{dashboard['title']} / {panel['title']}", target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return found + [(f"{dashboard['title']} / annotation {a['name']}", a["expr"]) for a in dashboard["annotations"]["list"]]


def case_dashboards(args):
    """Each is what its script writes, complete, without a host or a data source of ours, and uses what docs/metrics.md and the rules name."""
    root = pathlib.Path(args.source)
    done = subprocess.run([sys.executable, root / "deploy/grafana/make_dashboards", "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    documented = set(re.findall(r"^\| `(switchyard_[a-z_]+)`", (root / "docs/metrics.md").read_text(encoding="utf-8"), re.M))
    recorded = {name for _, kind, name, _ in read_rules(root) if kind == "record"}
    shown = set()
    for name, dashboard in load_dashboards(root).items():
        assert dashboard["templating"]["list"][0]["type"] == "datasource", name
        text = json.dumps(dashboard)
        assert not re.search(r"https?://|localhost|\d+\.\d+\.\d+\.\d+", text), f"{name} names a host"
        taken = set()
        ids = [panel["id"] for panel in dashboard["panels"] if "id" in panel]
        assert len(ids) == len(set(ids)), name
        for panel in dashboard["panels"]:
            grid = panel["gridPos"]
            cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
            assert not cells & taken and grid["x"] + grid["w"] <= 24, f"{name}: {panel['title']} lies over another panel"
            taken |= cells
            if panel["type"] == "row":
                continue
            assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"], f"{name}: {panel['title']}"
            assert panel["targets"] and all(t["datasource"]["uid"] == "${datasource}" for t in panel["targets"]), f"{name}: {panel['title']}"
        variables = {"$" + v["name"] for v in dashboard["templating"]["list"]}
        for where, expression in queries_of(dashboard):
            assert set(re.findall(r"\$(?!__)\w+", expression)) <= variables, f"{where}: {expression}"
            for metric in metric_names(expression) - recorded - {"up"}:
                plain = re.sub(r"_(bucket|sum|count)$", "", metric)
                assert plain in documented, f"{where}: {metric} is not in docs/metrics.md"
                shown.add(plain)
    # A figure that no dashboard shows, itself or through a rule, is there for questions nobody asks every day.
    shown |= {re.sub(r"_(bucket|sum|count)$", "", m) for _, _, _, e in read_rules(root) for m in metric_names(e)}
    unshown = {m for m in documented - shown if not m.startswith("switchyard_route_")}
    assert unshown <= {"switchyard_build_info", "switchyard_start_time_seconds", "switchyard_trainer_epoch"}, unshown


# ------------------------------------------------------------------------------------------------------------------- against a real Prometheus

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class TextfileExporter:
    """What node_exporter's textfile collector does with one file: serve it as it is. 404 until it is there."""

    def __init__(self, path):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    body = pathlib.Path(path).read_bytes()
                except FileNotFoundError:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                try:
                    self.wfile.write(body)
                except BrokenPipeError:  # Prometheus was told to end meanwhile
                    pass

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Prometheus:
    def __init__(self, binary, work, source, targets):
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{source}/deploy/prometheus/rules.yml", f"{source}/deploy/prometheus/alerts.yml"],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()],
        }
        path = os.path.join(work, "prometheus.json")  # JSON is YAML
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.start = time.time()
        for _ in range(3):  # another process may take the port first
            self.port = free_port()
            self.log = open(os.path.join(work, "prometheus.log"), "w+", encoding="utf-8")
            self.process = subprocess.Popen([binary, f"--config.file={path}", f"--storage.tsdb.path={work}/tsdb", "--log.level=warn",
                                             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=subprocess.STDOUT)
            try:
                within(60, "Prometheus becomes ready", self.ready)
                return
            except ChildProcessError as e:
                error = e
        raise error

    def ready(self):
        if self.process.poll() is not None:
            with open(self.log.name, encoding="utf-8") as f:
                raise ChildProcessError(f"Prometheus ended: {f.read()[-2000:]}")
        try:
            with OPENER.open(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as reply:
                return reply.status == 200, ""
        except OSError as e:
            return False, str(e)

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with OPENER.open(url, timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{parameters}: {e.read().decode()}") from e

    def has_series(self, expression):
        """Whether the expression ever gave a number since the start. AssertionError when it cannot be parsed."""
        result = self.get("query_range", query=expression, start=self.start, end=time.time(), step="1s")["result"]
        return any(math.isfinite(float(value)) for series in result for _, value in series["values"])

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()


class Load(threading.Thread):
    """Generate, Score and Route, again and again, until it is told to end. A failing round ends the test."""

    def __init__(self, world, address):
        super().__init__(daemon=True)
        self.world, self.address, self.ended, self.failure, self.rounds = world, address, threading.Event(), None, 0

    def run(self):
        while not self.ended.is_set() and self.failure is None:
            self.rounds += 1
            try:
                World.run([self.world.args.stress, self.address, "16", "12", str(self.rounds)])
            except Exception as e:  # told by the main thread
                self.failure = e

    def end(self):
        self.ended.set()
        self.join(timeout=120)
        assert self.failure is None, self.failure


def prepare_artifacts(world):
    """Below one root: the experts, another law, and the router twice, knowing what it was trained on."""
    root = os.path.join(world.work, "artifacts")
    other = os.path.join(world.work, "other")
    world.run([world.args.import_tool, "fixtures", world.base, other, "--expert", "law:6", "--router", "dense2moe_mlp", "--top-k", "1", "--seed", "77"])
    os.makedirs(root)
    shutil.move(f"{world.fixtures}/experts", f"{root}/experts")
    shutil.copytree(f"{other}/experts/law", f"{root}/law-2")
    for name in ("router-1", "router-2"):
        shutil.copytree(f"{world.fixtures}/router", f"{root}/{name}")
        path = f"{root}/{name}/router.json"
        with open(path, encoding="utf-8") as f:
            manifest = json.load(f)
        manifest["name"] = name
        count = len(manifest["experts"])
        manifest["load_shares"] = [[1 / count] * count for _ in range(manifest["num_layers"])]
        with open(path, "w", encoding="utf-8") as f:
            json.dump(manifest, f)
    return root


class WatchedServer(Server):
    def __init__(self, world, root):
        config = os.path.join(world.work, "config.json")
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"base": world.base, "experts": [*({"name": e, "directory": f"{root}/experts/{e}"} for e in EXPERTS), {"name": "zero"}],
                       "router": f"{root}/router-1", "listen": "127.0.0.1:0", "metrics": "127.0.0.1:0", "admin": "127.0.0.1:0", "artifact_root": root,
                       "state": os.path.join(world.work, "state.json"), "artifact_memory_mib": 64, "threads": 1, "max_queued_tasks": 4096, "max_running_tasks": 4,
                       "tenants": {"named": {"lab": {"concurrent_requests": 100}}}, "log_requests": 0, "canary_compare_share": 1}, f)
        world.server_command = lambda *_, **__: [world.args.server, "--config", config]
        super().__init__(world)

    def admin(self, world, *arguments, expect=0):
        env = {**os.environ, "SWITCHYARD_ADMIN": f"127.0.0.1:{self.serving['admin_port']}", "NO_COLOR": "1"}
        return world.run([world.args.client, "admin", *arguments], expect=expect, env=env)


def swap(world, server, prometheus):
    """A swap in each way, under load; what a change replaced is held by requests for a while."""
    server.admin(world, "load", "--dry-run", "--expert", "law-next=law-2")
    server.admin(world, "replace", "--expert", "law=law-2")
    server.admin(world, "load", "--router", "next=router-2", "--role", "canary", "--share", "0.25", "--allow-masking")
    within(60, "the canary is seen", lambda: (prometheus.has_series("switchyard_role_share_ratio"), ""))  # before the roll back takes it away
    failed = subprocess.run([world.args.client, "admin", "load", "--expert", "lost=nowhere"], capture_output=True, text=True, timeout=60, check=False,
                            env={**os.environ, "SWITCHYARD_ADMIN": f"127.0.0.1:{server.serving['admin_port']}"})
    assert failed.returncode != 0 and "nowhere" in failed.stderr + failed.stdout, failed


def hold_something_retired(world, server, prometheus):
    """A backlog on the law that is served now, then a swap: until the backlog is done, what it runs on is retired and not freed."""
    backlog = os.path.join(world.work, "backlog.jsonl")
    with open(backlog, "w", encoding="utf-8") as f:
        for i in range(1500):
            f.write(json.dumps({"id": f"b{i}", "text": f"{i} seven bees and a court of law", "maxTokens": 60, "ignoreEos": True}) + "\n")
    env = {**os.environ, "SWITCHYARD_SERVER": server.address}
    with open(backlog + ".log", "w", encoding="utf-8") as log, subprocess.Popen([world.args.client, "generate", "--input", backlog, "--output", backlog + ".out", "--concurrency", "256"], env=env,
                          stdout=log, stderr=log) as client:
        try:
            def waiting():
                with open(log.name, encoding="utf-8") as said:
                    assert client.poll() is None, said.read()
                queued = server.metrics()["switchyard_queued_tasks"]
                return queued > 100, queued

            within(60, "the backlog is there", waiting)
            server.admin(world, "rollback")
            within(60, "something retired is seen", lambda: (prometheus.has_series("switchyard_catalog_oldest_retired_seconds"), ""))
        finally:
            client.kill()


def compare_rivals(world, server):
    """A canary for every request, while the server has time: what is compared with the stable router is compared now. Returns what asks it something."""
    server.admin(world, "load", "--router", "next=router-2", "--role", "canary", "--share", "1", "--allow-masking")
    env = {**os.environ, "SWITCHYARD_SERVER": server.address}
    return lambda: world.run([world.args.client, "score", "--context", "The court sent the bees", "--choice", "home", "--choice", "away"], env=env)


def start_training(world, textfile):
    data = os.path.join(world.work, "data.jsonl")
    with open(data, "w", encoding="utf-8") as f:
        for i in range(64):
            f.write(json.dumps({"prompt": f"how many are {i} and {i + 1}?", "answer": f" {2 * i + 1}"}) + "\n")
    log = open(os.path.join(world.work, "trainer.log"), "w", encoding="utf-8")
    return subprocess.Popen([world.args.trainer, "expert", "--base", world.base, "--name", "sums", "--out", os.path.join(world.work, "sums"), "--data", f"sums={data}",
                             "--rank", "2", "--steps", "100000", "--evaluate-every", "50", "--checkpoint-every", "0", "--threads", "1", "--quiet",
                             "--prometheus-textfile", textfile], stdout=log, stderr=log)


def questions(root):
    """[(where, expression)]: every query of every dashboard with its variables filled in, every recording rule, every metric of every alert."""
    asked = []
    for dashboard in load_dashboards(root).values():
        for where, expression in queries_of(dashboard):
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, f"{where}: {expression}"
            asked.append((where, expression))
        for v in dashboard["templating"]["list"][1:]:
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", v["query"]["query"]).groups()
            for name, value in VARIABLES.items():
                series = series.replace(name, value)
            asked.append((f"{dashboard['title']} / variable {v['name']}", f'count by ({label}) ({series}) and on ({label}) count by ({label}) ({{{label}!="", __name__=~"switchyard_.*"}})'))
    for file, kind, name, expression in read_rules(root):
        if kind == "record":
            asked += [(f"{file} / {name}", expression), (f"{file} / {name}, as recorded", name)]
        else:  # most do not fire here: what they look at must be there
            asked += [(f"{file} / {name}", metric) for metric in metric_names(expression)]
    return [(where, e) for where, e in asked if not any(re.search(rf"\b{m}\b", e) for m in NOT_HERE)]


def case_queries(args):
    prometheus_binary = find_tool("prometheus")
    world = World(args)
    root = pathlib.Path(args.source)
    artifacts = prepare_artifacts(world)
    textfile = os.path.join(world.work, "run.prom")
    exporter = TextfileExporter(textfile)
    trainer = start_training(world, textfile)
    prometheus = load = None
    try:
        with WatchedServer(world, artifacts) as server:
            prometheus = Prometheus(prometheus_binary, world.work, args.source, {"switchyard": server.serving["metrics_port"], "node": exporter.port})
            load = Load(world, server.address)
            load.start()
            within(60, "requests are counted", lambda: (prometheus.has_series("switchyard_router_flip_ratio"), prometheus.get("targets")["activeTargets"]))
            swap(world, server, prometheus)
            hold_something_retired(world, server, prometheus)
            open_questions = questions(root)
            total = len(open_questions)
            assert total > 120, total

            def answered(later):
                open_questions[:] = [(where, e) for where, e in open_questions if not prometheus.has_series(e)]
                left = [(where, e) for where, e in open_questions if not re.search(later, e)]
                return not left, left

            def under_load():
                assert load.failure is None, load.failure
                return answered("switchyard_(divergence|automatic_rollbacks)_")

            within(90, "every query that load can answer gives a number", under_load)
            load.end()
            load = None
            ask = compare_rivals(world, server)

            def at_leisure():
                ask()
                return answered("no other query")

            within(60, f"every one of {total} queries gives a number", at_leisure)
            for group in prometheus.get("rules")["groups"]:
                for rule in group["rules"]:
                    assert rule["health"] == "ok", rule
            assert trainer.poll() is None, "the training run ended early"
            assert server.stop() == 0, server.tail()
            print(f"{total} queries")
    finally:
        if load is not None:
            load.ended.set()
        trainer.send_signal(signal.SIGTERM)
        trainer.wait(timeout=60)
        if prometheus is not None:
            prometheus.stop()
        exporter.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=["rules", "dashboards", "queries"])
    for option in ("server", "client", "import-tool", "stress", "trainer", "source", "work"):
        parser.add_argument(f"--{option}", required=True)
    parsed = parser.parse_args()
    globals()["case_" + parsed.case](parsed)
    print(f"{parsed.case}: passed")
