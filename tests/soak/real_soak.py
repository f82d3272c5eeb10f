"""Swaps real experts and routers under load: makes a base, sets of seeded experts and routers, broken ones (damage.py), starts the real server,
and runs real_soak against it. `--base DIRECTORY` takes a model of yours instead of a tiny random one. Prints real_soak's JSON; exit code 0 when
nothing failed, was mixed or came out wrong, and the server ended cleanly. docs/swapping.md has figures.
"""
import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile

import damage


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stderr}"


def make_artifacts(args, base, root):
    for number in range(args.sets):
        run([args.import_tool, "fixtures", base, f"{root}/set-{number}", "--expert", f"law:{4 + number}", "--expert", "code:6", "--router", "linear",
             "--top-k", "2", "--seed", str(100 + number)])
    lines = []
    for kind, source, ways in [("expert", "experts/law", damage.EXPERT), ("router", "router", damage.ROUTERS)]:
        for name, way in ways.items():
            directory = f"broken/{kind}-{name}"
            shutil.copytree(f"{root}/set-1/{source}", f"{root}/{directory}")
            way(f"{root}/{directory}")
            lines.append(f"{kind} {directory}\n")
    with open(f"{root}/broken.txt", "w", encoding="utf-8") as f:
        f.writelines(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for tool in ["server", "import-tool", "soak"]:
        parser.add_argument(f"--{tool}", required=True)
    parser.add_argument("--base", default="")
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--swaps", type=int, default=60)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--quiet-seconds", type=float, default=2)
    parser.add_argument("--pause-ms", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="switchyard-soak-") as work:
        base, root = args.base or f"{work}/base", f"{work}/artifacts"
        if not args.base:
            run([args.import_tool, "random-base", base, "--shape", "tiny", "--seed", "3"])
        os.makedirs(root)
        make_artifacts(args, base, root)
        with open(f"{work}/config.json", "w", encoding="utf-8") as f:
            json.dump({"log_requests": 0}, f)
        first = f"{root}/set-0"
        with open(f"{work}/log", "w+", encoding="utf-8") as log:
            server = subprocess.Popen([args.server, "--base", base, "--expert", f"law={first}/experts/law", "--expert", f"code={first}/experts/code",
                                       "--zero", "zero", "--router", f"{first}/router", "--listen", "127.0.0.1:0", "--config", f"{work}/config.json", "--metrics", "", "--admin", "127.0.0.1:0",
                                       "--artifact-root", root, "--state", f"{work}/state.json"], stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                assert select.select([server.stdout], [], [], 120)[0], "the server printed nothing within 120 s"
                serving = json.loads(server.stdout.readline())
                done = subprocess.run([args.soak, "--server", f"127.0.0.1:{serving['grpc_port']}", "--admin", f"127.0.0.1:{serving['admin_port']}",
                                       "--broken", f"{root}/broken.txt", "--sets", str(args.sets), "--swaps", str(args.swaps), "--clients",
                                       str(args.clients), "--seed", str(args.seed), "--quiet-seconds", str(args.quiet_seconds), "--pause-ms",
                                       str(args.pause_ms), "--pid", str(server.pid)],
                                      capture_output=True, text=True)
                report = json.loads(done.stdout) if done.stdout else {}
            finally:
                server.send_signal(signal.SIGTERM)
                code = server.wait(timeout=60)
            log.seek(0)
            errors = [line for line in log if '"level":"error"' in line]
    print(json.dumps(report, indent=2))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(report, f, indent=2)
    sys.stderr.write(done.stderr + "".join(errors[:20]))
    if done.returncode not in (0, 1):
        sys.stderr.write(f"real_soak ended with {done.returncode}\n")
    return 1 if code != 0 or done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
