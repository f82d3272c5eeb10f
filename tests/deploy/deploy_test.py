"""Checks of deploy/ and the Dockerfile; run by tools/check_deploy, which says what they are."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import manifests
import programs
import rules


def read(source, path):
    with open(os.path.join(source, path), encoding="utf-8") as f:
        return f.read()


def check_objects(source, name, objects):
    """One set of objects, however it was made."""
    for item in objects:
        rules.check_schema(item, f"{name}: {item['kind']}/{item['metadata']['name']}")
    assert len({manifests.key_of(item) for item in objects}) == len(objects), f"{name}: two objects of one name"
    templates = list(manifests.pod_templates(objects))
    assert templates, name
    for where, template in templates:
        rules.check_pod(f"{name}: {where}", template)
    rules.check_image(read(source, "Dockerfile"), "/etc/switchyard/sshd_config", templates)
    for item in objects:
        if item["kind"] == "Job":
            template = item["spec"]["template"]
            rules.check_training_figures(item["metadata"]["name"], template["spec"]["containers"][0]["args"], template)
        if item["kind"] == "MPIJob":
            rules.check_mpi_job(item, read(source, "tools/image/sshd_config"))


def check_server_objects(source, name, objects):
    (config_map,) = [item for item in objects if item["kind"] == "ConfigMap"]
    config = json.loads(config_map["data"]["config.json"])
    (server,) = [(where, template) for where, template in manifests.pod_templates(objects) if where.startswith("Deployment")]
    rules.check_server_pod(f"{name}: {server[0]}", server[1], config)
    rules.check_references(objects, read(source, "docs/metrics.md"))


def with_config_map(source, name, objects):
    data = {"config.json": json.dumps(manifests.config_of(source, name))}
    return [*objects, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "switchyard-config"}, "data": data}]


def check_plain(source):
    for name in manifests.OVERLAYS:
        objects = manifests.plain_objects(source, name)
        if name == "base":
            objects = with_config_map(source, name, objects)
            check_server_objects(source, name, objects)
        check_objects(source, name, objects)
    print("the files as they stand: valid")


def check_rendered(source, render, what):
    made = {}
    for name in manifests.OVERLAYS:
        made[name] = render(name)
        check_objects(source, f"{what} {name}", made[name])
        if name in ("base", "production"):
            check_server_objects(source, f"{what} {name}", made[name])
    print(f"{what}: {sum(map(len, made.values()))} objects, valid")
    return made


def check_same(kustomized, helmed):
    for name in manifests.OVERLAYS:
        left = {manifests.key_of(item): manifests.comparable(item) for item in kustomized[name]}
        right = {manifests.key_of(item): manifests.comparable(item) for item in helmed[name]}
        assert left.keys() == right.keys(), (name, left.keys() ^ right.keys())
        for key, item in left.items():
            assert item == right[key], f"{name}: {key}: Kustomize\n{json.dumps(item, indent=1)}\nHelm\n{json.dumps(right[key], indent=1)}"
    print("Helm and Kustomize make the same objects")


def check_helm(helm, source):
    chart = os.path.join(source, "deploy/helm/switchyard")
    for name in manifests.OVERLAYS:
        values = [] if name == "base" else ["--values", f"{chart}/examples/{name}.yaml"]
        manifests.run([helm, "lint", "--strict", "--quiet", "--kube-version", manifests.KUBERNETES_VERSIONS[-1], chart, *values])
    # What would be unsafe or a typing mistake is refused with the reason.
    for flags, wanted in [(["--set", "admin.expose=true"], "admin.expose wants tls.secret and tokens.secret"), (["--set", "replica=3"], "replica"),
                          (["--set", "trainer.enabled=true"], "trainer.args"), (["--set", "config.health="], "health")]:
        done = subprocess.run(manifests.helm_command(helm, source, "base", *flags), capture_output=True, text=True, check=False)
        assert done.returncode != 0 and wanted in done.stderr, (flags, done.stderr)


def check_programs(arguments, source):
    with tempfile.TemporaryDirectory() as work:
        world = programs.World(work, arguments)
        for name in ("base", "production"):
            programs.check_server(world, manifests.config_of(source, name))
        (job,) = manifests.plain_objects(source, "train")
        args = job["spec"]["template"]["spec"]["containers"][0]["args"]
        programs.check_trainer(world, args)
        (mpi,) = manifests.plain_objects(source, "train-mpi")
        launch = mpi["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["args"]
        assert launch[launch.index("switchyard-trainer") + 1:] == args, launch
    print("the server serves with the manifests' configurations; the trainer takes their command line")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("source", "tools", "server", "trainer", "import-tool"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    source = arguments.source
    tool = {name: os.path.join(arguments.tools, name) for name in ("hadolint", "helm", "kustomize")}
    have = {name for name, path in tool.items() if os.access(path, os.X_OK)}
    json.loads(read(source, "deploy/client/service_config.json"))
    check_plain(source)
    kustomized = helmed = None
    if "kustomize" in have:
        kustomized = check_rendered(source, lambda name: manifests.kustomized(tool["kustomize"], source, name), "Kustomize")
    if "helm" in have:
        check_helm(tool["helm"], source)
        helmed = check_rendered(source, lambda name: manifests.helmed(tool["helm"], source, name), "Helm")
    if kustomized and helmed:
        check_same(kustomized, helmed)
    if "hadolint" in have:
        manifests.run([tool["hadolint"], os.path.join(source, "Dockerfile")])
        print("hadolint: nothing found")
    check_programs(arguments, source)
    for name in sorted(tool.keys() - have):
        print(f"left out, for {name} is not installed (tools/setup --deploy): what it checks")


if __name__ == "__main__":
    main()
    sys.exit(0)
