"""The chart: linted and rendered by Helm, objects judged by Kubernetes' schemas, settings by the service itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import BIN, run
from fronts import DEPLOY
from intaglio.settings import Settings, load

TOOLS = BIN / "../tools/bin"
CHART = DEPLOY / "helm/intaglio"
KUBERNETES = "1.37.0"

LEAST: dict[str, Any] = {
    "image": {"repository": "registry.example.com/intaglio"},
    "settings": {
        "name": "Example Ltd",
        "hosts": ["sign.example.com"],
        "public": {"url": "http://pki.example.com"},
        "rates": {"signatures": {"per_second": 0.5, "burst": 1000}},
        "pool": {"marks": {"rsa-2048": {"low": 100, "high": 400}}},
        # The chart's to say, whatever stands here.
        "api": {"bind": "127.0.0.1", "port": 1},
    },
    "secrets": {"existing": "intaglio"},
    "home": {"existingClaim": "intaglio-home"},
    "epochs": {"existingClaim": "intaglio-epochs"},
    "networkPolicy": {"database": [{"ipBlock": {"cidr": "192.0.2.20/32"}}]},
}
TOKEN: dict[str, Any] = {
    "epochs": {"existingClaim": ""},
    "hsm": {
        "enabled": True,
        "tokenLabel": "intaglio",
        "environment": {"PKCS11_PROXY_SOCKET": "tcp://127.0.0.1:5657"},
        "library": {"image": "registry.example.com/pkcs11-proxy:1", "files": ["/usr/lib/libpkcs11-proxy.so"]},
        "sidecar": {"image": "registry.example.com/pkcs11-proxy:1", "command": ["pkcs11-daemon"]},
        "volumes": [{"name": "token", "secret": {"secretName": "token"}}],
        "volumeMounts": [{"name": "token", "mountPath": "/etc/token"}],
    },
}
FRONT: dict[str, Any] = {
    "front": {"peers": ["192.0.2.1", "2001:db8::/64"], "certificate": "front"},
    "api": {"workers": 4, "service": {"type": "ClusterIP"}},
    "autoscaling": {"enabled": False},
    "networkPolicy": {"database": LEAST["networkPolicy"]["database"], "metrics": [{"namespaceSelector": {}}]},
    "init": {"enabled": True, "arguments": ["--algorithm=p-256"]},
}


def rendered(folder: Path, **more: Any) -> tuple[Path, list[dict[str, Any]]]:
    """Return what Helm makes of such values: one file, and its objects."""
    values, objects = folder / "values.json", folder / "objects.yaml"
    values.write_text(json.dumps(LEAST | more))
    run(TOOLS / "helm", "lint", "--strict", CHART, "--values", values)
    text = run(TOOLS / "helm", "template", "r", CHART, "--values", values).stdout
    objects.write_bytes(text)
    # The tools' own YAML reader: PyYAML is nobody else's.
    script = "import json, sys, yaml; print(json.dumps([one for one in yaml.safe_load_all(sys.stdin) if one]))"
    return objects, json.loads(run(TOOLS / "python", "-c", script, stdin=text).stdout)


def settings_of(folder: Path, objects: list[dict[str, Any]]) -> dict[str, Settings]:
    [found] = [one for one in objects if one["kind"] == "ConfigMap"]
    read: dict[str, Settings] = {}
    for name, text in found["data"].items():
        (folder / "intaglio.toml").write_text(text)
        read[name] = load(folder)
    return read


@pytest.mark.parametrize("more", [{}, TOKEN, FRONT], ids=["software", "token", "front"])
def test_every_object_is_of_its_schema_and_the_settings_are_settings(tmp_path: Path, more: dict[str, Any]) -> None:
    file, objects = rendered(tmp_path, **more)
    run(TOOLS / "kubernetes-validate", "--strict", "-k", KUBERNETES, file)
    kinds = [one["kind"] for one in objects]
    expected = {"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}
    expected |= {"Job"} if more is FRONT else {"HorizontalPodAutoscaler"}
    assert set(kinds) == expected
    assert (kinds.count("Deployment"), kinds.count("NetworkPolicy")) == (2, 4 if more is FRONT else 3)

    read = settings_of(tmp_path, objects)
    api = read["api.toml"]
    assert (api.health.port, api.metrics.port) == (8081, 9090)
    assert (api.api.port, api.pool.makers, read["housekeeping.toml"].pool.makers) == (8443, 0, 2)
    assert (api.keys.master_key, api.database.url) == ("credential:master-key", "credential:database")
    assert (api.hsm is not None) == (more is TOKEN)
    assert (api.front is not None) == (more is FRONT)


def test_pods_may_do_little_and_end_in_order(tmp_path: Path) -> None:
    for one in rendered(tmp_path, **TOKEN)[1]:
        if one["kind"] != "Deployment":
            continue
        pod = one["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in (*pod["initContainers"], *pod["containers"]):
            confined = container["securityContext"]
            assert confined["readOnlyRootFilesystem"] is True
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["capabilities"] == {"drop": ["ALL"]}
        # drain_seconds and what comes after, after the linger.
        assert pod["terminationGracePeriodSeconds"] >= 5 + 15 + 5
        # Every mount has its volume.
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounts = {mount["name"] for c in (*pod["initContainers"], *pod["containers"]) for mount in c["volumeMounts"]}
        assert mounts <= volumes


def covering(objects: list[dict[str, Any]], of: dict[str, Any], direction: str) -> list[dict[str, Any]]:
    """Return the network policies of such a direction for the pods of an object, of those that are there when it is."""
    labels = of["spec"]["template"]["metadata"]["labels"].items()
    return [
        one["spec"]
        for one in objects
        if one["kind"] == "NetworkPolicy"
        and ("annotations" in one["metadata"]) == ("annotations" in of["metadata"])
        and one["spec"]["podSelector"]["matchLabels"].items() <= labels
        and direction in one["spec"]["policyTypes"]
    ]


def test_every_pod_is_reached_and_reaches_what_it_must(tmp_path: Path) -> None:
    objects = rendered(tmp_path, **FRONT)[1]
    ports: dict[str, tuple[set[Any], bool]] = {}
    for one in objects:
        if one["kind"] not in {"Deployment", "Job"}:
            continue
        pod = one["spec"]["template"]
        rules = [rule for policy in covering(objects, one, "Ingress") for rule in policy.get("ingress", [])]
        egress = [policy for policy in covering(objects, one, "Egress") if policy.get("egress")]
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        ports[component] = {port["port"] for rule in rules for port in rule["ports"]}, bool(egress)
        assert covering(objects, one, "Ingress"), component
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for container in pod["spec"]["containers"]:
                if one["kind"] == "Deployment":
                    assert container[probe]["httpGet"]["port"] == "health"
        for volume in pod["spec"]["volumes"]:
            if volume["name"] == "front":
                assert [item["key"] for item in volume["secret"]["items"]] == ["front.crt"]
    assert ports == {
        "api": ({"api", "public", "front", "metrics"}, True),
        "housekeeping": ({"metrics"}, True),
        "init": (set(), True),
    }
    # The job is before everything else, and its policy before it.
    [policy] = [one for one in objects if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "r-init"]
    assert policy["metadata"]["annotations"]["helm.sh/hook-weight"] == "-1"


def test_metrics_are_not_everybody_s_unless_that_is_said(tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    command = (TOOLS / "helm", "template", "r", CHART, "--values", values)
    for metrics, told in (({}, False), ({"exposed": True}, True), ({"enabled": False}, True)):
        values.write_text(json.dumps(LEAST | {"networkPolicy": {"enabled": False}, "metrics": metrics}))
        done = run(*command, check=False)
        assert (done.returncode == 0) == told, done.stderr
        assert told or b"metrics.exposed" in done.stderr


def test_what_has_to_be_said_and_is_not_is_asked_for(tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    for lacking in ("image", "secrets", "home", "settings", "epochs", "networkPolicy"):
        values.write_text(json.dumps({name: value for name, value in LEAST.items() if name != lacking}))
        told = run(TOOLS / "helm", "template", "r", CHART, "--values", values, check=False)
        assert told.returncode
        assert lacking.encode() in told.stderr


def test_the_judge_would_object(tmp_path: Path) -> None:
    file, _ = rendered(tmp_path)
    for right, wrong in (("maxSurge: 1", "maxSurge: [1]"), ("readOnlyRootFilesystem", "readOnlyRotFilesystem")):
        broken = tmp_path / "broken.yaml"
        broken.write_text(file.read_text().replace(right, wrong))
        assert run(TOOLS / "kubernetes-validate", "--strict", "-k", KUBERNETES, broken, check=False).returncode
