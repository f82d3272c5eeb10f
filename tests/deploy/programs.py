"""The configuration and the command lines of the manifests, given to the real programs on a tiny random model."""
import json
import os
import select
import signal
import subprocess

from manifests import run


class World:
    """A directory laid out as the volumes of the manifests are."""

    def __init__(self, work, programs):
        self.work, self.programs = work, programs
        self.models, self.artifacts, self.metrics = f"{work}/models", f"{work}/artifacts", f"{work}/metrics"
        os.makedirs(self.models)
        os.makedirs(self.metrics)
        os.makedirs(self.artifacts)
        run([programs.import_tool, "random-base", f"{self.models}/base", "--shape", "tiny", "--seed", "3"])

    def moved(self, text):
        """A value of a manifest with its mount points turned into folders of this world."""
        for mount in ("/models", "/artifacts", "/metrics", "/etc/switchyard", "/var/lib/switchyard"):
            if text == mount or text.startswith(mount + "/"):
                return self.work + text
            if "=" in text and text.split("=", 1)[1].startswith(mount + "/"):
                return text.replace("=", "=" + self.work, 1)
        return text

    def secrets(self):
        """What the Secrets hold: a certificate, and one token."""
        os.makedirs(f"{self.work}/etc/switchyard/tls", exist_ok=True)
        os.makedirs(f"{self.work}/etc/switchyard/tokens", exist_ok=True)
        tls = f"{self.work}/etc/switchyard/tls"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{tls}/tls.key", "-out", f"{tls}/tls.crt"])
        entry = subprocess.run([self.programs.server, "--hash-token", "operator"], input="0123456789abcdef" * 4, capture_output=True,
                               text=True, check=True).stdout
        with open(f"{self.work}/etc/switchyard/tokens/tokens.json", "w", encoding="utf-8") as f:
            f.write(f'{{"tokens": [{entry}]}}')


def check_server(world, config):
    """Every key is one the server knows, and with the paths in place and free ports it serves."""
    os.makedirs(f"{world.work}/var/lib/switchyard", exist_ok=True)
    state = world.moved(config["state"])
    if os.path.exists(state):
        os.remove(state)
    world.secrets()
    local = {key: world.moved(value) if isinstance(value, str) else value for key, value in config.items()}
    # As given but for size and numbers that must be free here.
    local.update(kv_mib=16, threads=1, **{key: config[key].rpartition(":")[0] + ":0" for key in ("listen", "metrics", "admin", "health")})
    path = f"{world.work}/config.json"
    for content, command in ((config, [world.programs.server, "--config", path, "--print-config"]), (local, None)):
        with open(path, "w", encoding="utf-8") as f:
            json.dump(content, f)
        if command:
            effective = json.loads(run(command))
            assert all(effective[key] == value or key == "experts" for key, value in content.items()), effective
    with open(f"{world.work}/server.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen([world.programs.server, "--config", path], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            ready, _, _ = select.select([process.stdout], [], [], 120)
            line = process.stdout.readline() if ready else ""
            log.seek(0)
            assert line, log.read()[-3000:]
            serving = json.loads(line)
            assert all(serving[f"{name}_port"] > 0 for name in ("grpc", "metrics", "admin", "health")), serving
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:  # until the second signal, which cuts the drain's delay short, has been taken
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
            assert process.returncode == 0, process.returncode
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()


def check_trainer(world, args):
    """The flags are the trainer's, and two small steps publish the artifact."""
    if not os.path.exists(f"{world.artifacts}/data"):
        run([world.programs.trainer, "demo-data", f"{world.work}/demo"])
        os.makedirs(f"{world.artifacts}/data")
        os.symlink(f"{world.work}/demo/statutes/train.jsonl", f"{world.artifacts}/data/train.jsonl")
    out = f"{world.artifacts}/expert-1"
    subprocess.run(["rm", "-rf", out, out + ".run"], check=True)
    command = [world.programs.trainer, *(world.moved(a) for a in args if not a.startswith("--threads"))]
    run([*command, "--threads=1", "--steps=2", "--rank=2", "--max-records=12", "--quiet"])
    assert os.path.exists(f"{out}/adapter_model.safetensors"), os.listdir(world.artifacts)
    (figures,) = os.listdir(world.metrics)
    with open(f"{world.metrics}/{figures}", encoding="utf-8") as f:
        assert "switchyard_trainer_step" in f.read()
    wrong = subprocess.run([world.programs.trainer, "expert", "--no-such-flag"], capture_output=True, check=False)
    assert wrong.returncode == 2, f"{wrong.returncode}: the Job's podFailurePolicy names 2"
