"""What must hold between the objects, and no schema knows."""
import os
import re

import kubernetes_validate
from manifests import KUBERNETES_VERSIONS, pod_templates

# Custom resources whose schemas are not in the validator: their fields, as their operators' API pages name them.
CUSTOM = {
    "PodMonitor": {
        "": {"selector", "podMetricsEndpoints"},
        "podMetricsEndpoints": {"port", "path", "interval", "authorization"},
    },
    "MPIJob": {
        "": {"slotsPerWorker", "mpiImplementation", "sshAuthMountPath", "runPolicy", "mpiReplicaSpecs"},
        "runPolicy": {"cleanPodPolicy", "backoffLimit"},
    },
}


def check_schema(item, where):
    kind = item["kind"]
    if kind not in CUSTOM:
        for version in KUBERNETES_VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)
        return
    for path, allowed in CUSTOM[kind].items():
        part = item["spec"].get(path, {}) if path else item["spec"]
        for fields in part if isinstance(part, list) else [part]:
            assert set(fields) <= allowed, f"{where}: {kind} knows no {set(fields) - allowed}"
    for place, template in pod_templates([item]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
        for version in KUBERNETES_VERSIONS:
            try:
                kubernetes_validate.validate(pod, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise AssertionError(f"{place}: {error}") from error


def check_pod(where, template):
    spec = template["spec"]
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] > 0, where
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
    assert spec["automountServiceAccountToken"] is False, where
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounted = set()
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        place = f"{where}/{container['name']}"
        own = container["securityContext"]
        assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, place
        assert {"cpu", "memory"} <= set(container["resources"]["requests"]) and "memory" in container["resources"]["limits"], place
        assert not container["image"].endswith(":latest"), place
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(mounts)) == len(mounts) and ("/tmp" in mounts or container["name"] == "exporter"), place
        for mount in container["volumeMounts"]:
            assert mount["name"] in volumes, f"{place}: no volume {mount['name']}"
            mounted.add(mount["name"])
            if not mount.get("readOnly"):
                volume = volumes[mount["name"]]
                writable = "emptyDir" in volume or volume.get("persistentVolumeClaim", {"readOnly": True}).get("readOnly", False) is False
                assert writable, f"{place}: {mount['name']} can be mounted read-only alone"
        names = {port["name"] for port in container.get("ports", [])}
        numbers = {port["containerPort"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                assert container[probe]["grpc"]["port"] in numbers, f"{place}: {probe} asks a port that is not there"
        assert len(names) == len(numbers) == len(container.get("ports", [])), place
    assert mounted == set(volumes), f"{where}: not mounted: {set(volumes) - mounted}"


def port_of(address):
    return int(address.rpartition(":")[2])


def check_server_pod(where, template, config):
    """The pod against the configuration of the server in it."""
    spec = template["spec"]
    (container,) = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    expected = {"grpc": config["listen"], "http": config["metrics"], "health": config["health"]}
    if not config["admin"].startswith("127."):
        expected["admin"] = config["admin"]
        assert config["tls_certificate"] and config["tokens"], f"{where}: an admin port for everybody"
    assert ports == {name: port_of(address) for name, address in expected.items()}, f"{where}: {ports}, {expected}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == ports["health"], f"{where}: {probe}"
    assert container["livenessProbe"]["grpc"]["service"] == "live", where
    drain = config["drain_delay_seconds"] + config["drain_seconds"]
    assert spec["terminationGracePeriodSeconds"] >= drain + 10, f"{where}: killed before it has drained"
    assert config["drain_delay_seconds"] >= 2 * container["readinessProbe"]["periodSeconds"] + 1, f"{where}: refuses before endpoints know"
    assert config["threads"] == int(container["resources"]["requests"]["cpu"]), where
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    for setting in ("base", "artifact_root", "state", "tls_certificate", "tls_key", "tls_client_ca", "tokens"):
        path = config.get(setting)
        if path:
            inside = [mount for mount in mounts if path == mount or path.startswith(mount + "/")]
            assert inside, f"{where}: {setting} {path} is on no volume"
            assert bool(mounts[inside[0]].get("readOnly")) != (setting == "state"), f"{where}: {setting} {path}"
    assert os.path.dirname(container["args"][1]) in mounts, container["args"]


def matches(selector, labels):
    return bool(selector) and set(selector) <= set(labels) and all(labels[k] == v for k, v in selector.items())


def check_references(objects, metrics_page):
    """Selectors, ports, names, metrics."""
    named = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    (deployment,) = [item for item in objects if item["kind"] == "Deployment"]
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert matches(deployment["spec"]["selector"]["matchLabels"], labels), "Deployment"
    for constraint in template["spec"]["topologySpreadConstraints"]:
        assert matches(constraint["labelSelector"]["matchLabels"], labels), "topologySpreadConstraints"
    assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in named
    for item in objects:
        spec, where = item.get("spec", {}), f"{item['kind']}/{item['metadata']['name']}"
        if item["kind"] == "Service":
            assert spec["clusterIP"] == "None" and matches(spec["selector"], labels), where
            assert all(port["targetPort"] in ports for port in spec["ports"]), where
            # Never both on one name: who may infer need not see where one administers.
            assert ("admin" in {port["name"] for port in spec["ports"]}) == where.endswith("-admin"), where
            assert len(spec["ports"]) == 1, where
        elif item["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            assert matches(spec["selector"]["matchLabels"], labels), where
            assert all(endpoint["port"] in ports for endpoint in spec.get("podMetricsEndpoints", [])), where
        elif item["kind"] == "NetworkPolicy":
            assert matches(spec["podSelector"]["matchLabels"], labels), where
            for rule in spec["ingress"]:
                assert all(port["port"] in ports - {"health"} for port in rule["ports"]), where
                for peer in rule["from"]:
                    wanted = peer.get("podSelector", {}).get("matchLabels", {})
                    assert not set(wanted) & set(labels), f"{where}: only the server's own pods could call"
            opened = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
            assert opened == ports - {"health"}, f"{where}: {opened}"
        elif item["kind"] == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            assert (target["kind"], target["name"]) in named and "replicas" not in deployment["spec"], where
            for metric in spec["metrics"]:
                name = metric["pods"]["metric"]["name"]
                assert re.search(rf"^\| `{name}` \| gauge \|", metrics_page, re.M), f"{where}: the server has no gauge {name}"
    for volume in template["spec"]["volumes"]:
        if "persistentVolumeClaim" in volume:
            assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in named, volume
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in named, volume


def check_training_figures(where, trainer_args, template):
    """What the trainer writes is what the exporter beside it reads, on the port that is said to be scraped."""
    (exporter,) = template["spec"]["initContainers"]
    assert exporter["restartPolicy"] == "Always", f"{where}: the pod would wait for the exporter's end"
    (directory,) = [a.partition("=")[2] for a in exporter["args"] if a.startswith("--collector.textfile.directory=")]
    (figures,) = [a.partition("=")[2] for a in trainer_args if a.startswith("--prometheus-textfile=")]
    assert os.path.dirname(figures) == directory and figures.endswith(".prom"), f"{where}: {figures}, {directory}"
    volumes = set()
    for container in (exporter, template["spec"]["containers"][0]):
        volumes |= {mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == directory}
    assert len(volumes) == 1, f"{where}: {volumes}"
    (port,) = [port["containerPort"] for port in exporter["ports"]]
    assert f"--web.listen-address=:{port}" in exporter["args"], where
    annotations = template["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}, f"{where}: {annotations}"


def check_mpi_job(item, sshd_config):
    spec = item["spec"]
    launcher, worker = spec["mpiReplicaSpecs"]["Launcher"], spec["mpiReplicaSpecs"]["Worker"]
    (start,) = launcher["template"]["spec"]["containers"]
    (serve,) = worker["template"]["spec"]["containers"]
    assert start["command"] == ["mpirun"] and start["args"][:2] == ["-n", str(worker["replicas"] * spec["slotsPerWorker"])], start["args"]
    check_training_figures(item["metadata"]["name"], start["args"], worker["template"])
    assert f"Port {serve['ports'][0]['containerPort']}\n" in sshd_config
    assert f"{spec['sshAuthMountPath']}/authorized_keys\n" in sshd_config


def check_image(dockerfile, sshd_path, templates):
    """Users, ports and paths that the manifests share with the Dockerfile."""
    for where, template in templates:
        user = template["spec"]["securityContext"]
        assert f"USER {user['runAsUser']}:{user['runAsGroup']}\n" in dockerfile, where
        for container in template["spec"]["containers"]:
            if container["name"] == "server":
                exposed = re.search(r"^EXPOSE (.*)$", dockerfile, re.M).group(1).split()
                ports = {str(port["containerPort"]) for port in container["ports"] if port["name"] != "admin"}
                assert ports == set(exposed), (ports, exposed)
            if container["name"] == "worker":
                assert container["args"][-1] == sshd_path and f" {sshd_path}\n" in dockerfile, where
