"""The objects of deploy/: read, rendered, and made comparable."""
import json
import os
import re
import subprocess

import yaml

OVERLAYS = ["base", "production", "train", "train-mpi"]
# The oldest Kubernetes that has sidecars (init containers that go on) without a feature gate, and the newest whose schemas the validator has.
KUBERNETES_VERSIONS = ["1.29", "1.37"]


def read_objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


def overlay_directory(source, name):
    return os.path.join(source, "deploy/kustomize", name if name == "base" else f"overlays/{name}")


def plain_objects(source, name):
    """The resource files of an overlay as they stand, those of the base it stands on included; neither patched nor labelled."""
    directory = overlay_directory(source, name)
    with open(os.path.join(directory, "kustomization.yaml"), encoding="utf-8") as f:
        kustomization = yaml.safe_load(f)
    found = []
    for resource in kustomization["resources"]:
        if resource.endswith(".yaml"):
            with open(os.path.join(directory, resource), encoding="utf-8") as f:
                found += read_objects(f.read())
        else:
            found += plain_objects(source, os.path.basename(resource))
    return found


def config_of(source, name):
    with open(os.path.join(overlay_directory(source, name), "config.json"), encoding="utf-8") as f:
        return json.load(f)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def kustomized(kustomize, source, name):
    return read_objects(run([kustomize, "build", overlay_directory(source, name)]))


def helm_command(helm, source, name, *extra):
    chart = os.path.join(source, "deploy/helm/switchyard")
    values = [] if name == "base" else ["--values", f"{chart}/examples/{name}.yaml"]
    return [helm, "template", "switchyard", chart, "--kube-version", KUBERNETES_VERSIONS[-1], *values, *extra]


def helmed(helm, source, name):
    return read_objects(run(helm_command(helm, source, name)))


def key_of(item):
    return item["kind"], re.sub(r"-config-[a-z0-9]{10}$", "-config", item["metadata"]["name"])


def comparable(item):
    """Without what only one of the two tools adds: its labels, the hash in a ConfigMap's name, the checksum that stands for it."""
    text = re.sub(r"switchyard-config-[a-z0-9]{10}\b", "switchyard-config", json.dumps(item))
    item = json.loads(text)
    for labels in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
        item["metadata"].get("labels", {}).pop(labels, None)
    for metadata in (item["metadata"], item.get("spec", {}).get("template", {}).get("metadata", {})):
        annotations = metadata.get("annotations", {})
        for name in ("checksum/config", "helm.sh/resource-policy"):
            annotations.pop(name, None)
        if not annotations:
            metadata.pop("annotations", None)
    if item["kind"] == "ConfigMap":
        item["data"] = {name: json.loads(value) for name, value in item["data"].items()}
    return sorted_lists(item)


def sorted_lists(value):
    """Lists of named things are sets to Kubernetes."""
    if isinstance(value, dict):
        return {k: sorted_lists(v) for k, v in value.items()}
    if isinstance(value, list):
        items = [sorted_lists(v) for v in value]
        named = all(isinstance(v, dict) and "name" in v for v in items)
        return sorted(items, key=lambda v: (v["name"], v.get("mountPath", ""))) if named else items
    return value


def pod_templates(objects):
    """(where, template) of every pod that an object makes."""
    for item in objects:
        where = f"{item['kind']}/{item['metadata']['name']}"
        if item["kind"] in ("Deployment", "Job"):
            yield where, item["spec"]["template"]
        elif item["kind"] == "MPIJob":
            for role, replica in item["spec"]["mpiReplicaSpecs"].items():
                yield f"{where}/{role}", replica["template"]
