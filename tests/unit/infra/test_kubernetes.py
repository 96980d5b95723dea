"""Kubernetes manifests: true to the official schemas, closed to the outside, without secrets, and big enough for what
they run.

KubeRay's own resource definitions come with no package; the fields used of them are held to the list below, which was
written from KubeRay's API reference. The pod templates inside them are ordinary ones and are checked against
Kubernetes' schema.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from pipelines.config.compose import compose_config
from pipelines.serve.http_wire import CALLBACK
from tests.unit.infra.manifests import FOLDER, INFRA, containers, manifests, of_kind, pod_templates, walk

pytestmark = pytest.mark.unit

VERSION = "1.37.0"
# Fields of ray.io/v1 in KubeRay 1.5.1 and newer; True where the field must be there.
RAY_CLUSTER = {
    "suspend": False,
    "managedBy": False,
    "autoscalerOptions": False,
    "headServiceAnnotations": False,
    "authOptions": False,
    "enableInTreeAutoscaling": False,
    "gcsFaultToleranceOptions": False,
    "headGroupSpec": True,
    "rayVersion": False,
    "workerGroupSpecs": False,
}
HEAD = {"template": True, "headService": False, "enableIngress": False, "rayStartParams": True, "serviceType": False}
WORKERS = {
    "groupName": True, "replicas": False, "minReplicas": True, "maxReplicas": True, "idleTimeoutSeconds": False,
    "rayStartParams": True, "template": True, "scaleStrategy": False, "numOfHosts": False, "suspend": False,
}  # fmt: skip
RAY_JOB = {
    "activeDeadlineSeconds": False,
    "backoffLimit": False,
    "rayClusterSpec": False,
    "submitterPodTemplate": False,
    "metadata": False,
    "clusterSelector": False,
    "submitterConfig": False,
    "managedBy": False,
    "deletionStrategy": False,
    "entrypoint": False,
    "runtimeEnvYAML": False,
    "jobId": False,
    "submissionMode": False,
    "entrypointResources": False,
    "entrypointNumCpus": False,
    "entrypointNumGpus": False,
    "ttlSecondsAfterFinished": False,
    "shutdownAfterJobFinishes": False,
    "suspend": False,
}
RAY_SERVICE = {
    "deploymentUnhealthySecondThreshold": False,
    "excludeHeadPodFromServeSvc": False,
    "managedBy": False,
    "rayClusterConfig": True,
    "rayClusterDeletionDelaySeconds": False,
    "serveConfigV2": True,
    "serveService": False,
    "serviceUnhealthySecondThreshold": False,
    "suspend": False,
    "upgradeStrategy": False,
}


def check_fields(value: dict, fields: dict[str, bool], where: str) -> None:
    assert not set(value) - set(fields), f"{where} has no such fields: {sorted(set(value) - set(fields))}"
    assert not {name for name, needed in fields.items() if needed} - set(value), f"{where} lacks fields"


def check_ray_cluster(spec: dict) -> None:
    check_fields(spec, RAY_CLUSTER, "a RayCluster")
    check_fields(spec["headGroupSpec"], HEAD, "headGroupSpec")
    for group in spec["workerGroupSpecs"]:
        check_fields(group, WORKERS, "workerGroupSpecs")
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "Ray's options are strings"


@pytest.mark.parametrize(
    "manifest", [m for m in manifests() if not m.value["apiVersion"].startswith("ray.io/")], ids=str
)
def test_a_manifest_is_true_to_kubernetes_own_schema(manifest):
    kubernetes_validate.validate(manifest.value, VERSION, strict=True)


@pytest.mark.parametrize("manifest", [m for m in manifests() if m.kind == "RayCluster"], ids=str)
def test_a_ray_cluster_has_kuberays_fields_and_true_pod_templates(manifest):
    check_ray_cluster(manifest.value["spec"])
    templates = pod_templates(manifest)
    assert len(templates) == 1 + len(manifest.value["spec"]["workerGroupSpecs"])
    for template in templates:
        # In an object of Kubernetes' own, since the schemas are of whole objects; the operator adds labels in the same
        # way.
        labels = {"matchLabels": {"a": "b"}}
        spec = {"selector": labels, "template": {"metadata": {"labels": labels["matchLabels"]}, **template}}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}
        kubernetes_validate.validate(deployment, VERSION, strict=True)


def test_the_schemas_refuse_a_field_that_is_misspelt():
    broken = next(m for m in manifests() if m.kind == "Deployment").value
    broken["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


@pytest.mark.parametrize("manifest", of_kind("RayJob"), ids=str)
def test_a_ray_jobs_command_is_one_that_pixsem_takes(manifest):
    spec = manifest.value["spec"]
    check_fields(spec, RAY_JOB, "a RayJob")
    command, verb, *overrides = spec["entrypoint"].split()
    assert (command, verb) == ("pixsem", "run")
    config = compose_config(overrides, None)
    assert config.store.startswith("s3://") and config.cluster.address == "auto"


def serve_configuration() -> ServeDeploySchema:
    (service,) = of_kind("RayService")
    return ServeDeploySchema.model_validate(yaml.safe_load(service.value["spec"]["serveConfigV2"]))


def test_a_ray_services_application_is_what_pixsem_serves():
    (application,) = serve_configuration().applications
    module, _, name = application.import_path.partition(":")
    built = getattr(importlib.import_module(module), name)(application.args)
    assert isinstance(built, Application)


@pytest.mark.parametrize("path", ["docker/Dockerfile", "slurm/pixsem.sbatch"])
def test_where_serve_starts_before_pixsem_its_proxy_has_our_limits(path):
    (setting,) = (f"{name}={value}" for name, value in CALLBACK.items())
    assert f" {setting} " in (INFRA / path).read_text()


def cpus_and_gpus(container: dict) -> tuple[float, float]:
    requests = container["resources"]["requests"]
    return float(requests["cpu"]), float(requests.get("nvidia.com/gpu", 0))


def test_the_paper_preset_fits_into_the_ray_cluster():
    spec = of_kind("RayCluster")[0].value["spec"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    nodes = [
        cpus_and_gpus(group["template"]["spec"]["containers"][0])
        for group in spec["workerGroupSpecs"]
        for _ in range(group["replicas"])
    ]
    execution = compose_config(["preset=paper", "source.path=x"], None).execution
    stages = [(wanted.cpus, wanted.gpus, wanted.workers) for _, wanted in execution.training]
    stages += [(wanted.cpus, wanted.gpus, max(1, wanted.actors)) for _, wanted in execution.resources]
    for cpus, gpus, count in stages:
        room = sum(min(c // cpus, g // gpus if gpus else c // cpus) for c, g in nodes if not gpus or g)
        assert room >= count, f"{count} workers of {cpus} CPUs and {gpus} GPUs do not fit"


def test_gpus_are_asked_for_as_kubernetes_wants_it():
    found = [
        c["resources"] for m in of_kind("RayCluster") for c in containers(m) if "nvidia.com/gpu" in str(c["resources"])
    ]
    assert found
    for resources in found:
        assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"], (
            "GPUs are not overcommitted"
        )


@pytest.mark.parametrize("manifest", [m for m in manifests() if pod_templates(m)], ids=str)
def test_pods_are_unprivileged_sized_and_know_only_what_they_are_told(manifest):
    for template in pod_templates(manifest):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # Of the service mlflow Kubernetes would make MLFLOW_PORT=tcp://..., which MLflow's server reads as its own
        # option.
        assert pod["enableServiceLinks"] is False
        assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
        assert not [volume for volume in pod.get("volumes", ()) if "hostPath" in volume]
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_images_are_pinned():
    for manifest in manifests():
        for container in containers(manifest):
            tag = container["image"].partition(":")[2]
            assert re.match(r"v?\d+\.\d+", tag), f"{manifest}: {container['image']}"


def test_nothing_is_exposed_outside_the_cluster():
    assert not [m for m in manifests() if m.kind in ("Ingress", "Gateway", "HTTPRoute")]
    for manifest in of_kind("Service"):
        assert manifest.value["spec"].get("type", "ClusterIP") == "ClusterIP"
    for manifest in of_kind("RayCluster"):
        head = manifest.value["spec"]["headGroupSpec"]
        assert head["serviceType"] == "ClusterIP" and not head.get("enableIngress")
        assert manifest.value["spec"]["authOptions"] == {"mode": "token"}
        assert not [port for c in containers(manifest) for port in c.get("ports", ()) if "hostPort" in port]


def test_every_pod_is_behind_a_policy_and_every_policy_has_pods():
    policies = [m.value["spec"] for m in of_kind("NetworkPolicy")]
    assert {"podSelector": {}, "policyTypes": ["Ingress"]} in policies, "without it all that is not named is open"
    named = {
        label
        for template in (t for m in manifests() for t in pod_templates(m))
        for label in [template.get("metadata", {}).get("labels", {}).get("app.kubernetes.io/name")]
        if label
    } | {"kuberay-operator"}
    for mapping in (mapping for policy in policies for mapping in walk(policy)):
        label = mapping.get("matchLabels", {}).get("app.kubernetes.io/name")
        assert label is None or label in named, f"no pod is called {label}"


SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL", re.IGNORECASE)


def test_no_secret_stands_in_a_file():
    assert not [m for m in manifests() if m.kind == "Secret"]
    for manifest in manifests():
        for container in containers(manifest):
            for variable in container.get("env", ()):
                if SECRET_NAME.search(variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}, (
                        f"{manifest}: {variable['name']} stands there as text"
                    )


def wanted_secrets() -> dict[str, set[str]]:
    """Return {secret: keys} that the manifests name."""
    found: dict[str, set[str]] = {}
    for mapping in (mapping for m in manifests() for mapping in walk(m.value)):
        if "secretKeyRef" in mapping:
            found.setdefault(mapping["secretKeyRef"]["name"], set()).add(mapping["secretKeyRef"]["key"])
        if "secretRef" in mapping:
            found.setdefault(mapping["secretRef"]["name"], set())
        if "secretName" in mapping:
            found.setdefault(mapping["secretName"], set()).update(item["key"] for item in mapping["items"])
    return found


KUBECTL = """#!/usr/bin/env bash
# Writes down its arguments, says of one secret that it is there, and keeps what it is told to put into the others.
set -eu
echo "$*" >> "$RECORD/calls"
shift 2  # --namespace pixsem
if [[ $1 == get ]]; then
    [[ $3 != "$THERE" ]] || echo "secret/$3"
    exit
fi
name=$4
mkdir "$RECORD/$name"
for option in "${@:5}"; do
    case $option in
        --from-env-file=*)
            while IFS='=' read -r key value; do printf %s "$value" > "$RECORD/$name/$key"; done < "${option#*=}" ;;
        --from-file=*) rest=${option#*=}; cat "${rest#*=}" > "$RECORD/$name/${rest%%=*}" ;;
        *) exit 64 ;;
    esac
done
"""


def create_secrets(folder: Path, there: str = "") -> str:
    (folder / "bin").mkdir()
    (folder / "bin" / "kubectl").write_text(KUBECTL)
    (folder / "bin" / "kubectl").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "RECORD": str(folder),
        "THERE": there,
    }
    script = FOLDER / "create-secrets.sh"
    return subprocess.run([str(script)], env=environment, check=True, capture_output=True, text=True).stdout


def test_the_script_makes_every_secret_that_is_named_and_shows_none(tmp_path):
    said = create_secrets(tmp_path)
    calls = (tmp_path / "calls").read_text()
    values = []
    for name, keys in wanted_secrets().items():
        made = {path.name: path.read_text() for path in (tmp_path / name).iterdir()}
        assert keys <= set(made), f"{name} lacks {keys - set(made)}"
        values += [value for key, value in made.items() if SECRET_NAME.search(key)]
    assert len(values) >= 6 and all(len(value) >= 40 for value in values)
    assert len(set(values)) == len(values), "each is its own"
    assert not [value for value in values if value in calls or value in said]
    store = yaml.safe_load((tmp_path / "pixsem-object-store" / "s3.json").read_text())["identities"][0]["credentials"][
        0
    ]
    for form, key in (("accessKey", "AWS_ACCESS_KEY_ID"), ("secretKey", "AWS_SECRET_ACCESS_KEY")):
        assert store[form] == (tmp_path / "pixsem-object-store" / key).read_text()
    made = {path.name for path in (tmp_path / "pixsem-postgres").iterdir()}
    assert made == {"PGUSER", "PGPASSWORD"}, "taken whole as environment by the server"


def test_a_secret_that_is_there_is_not_made_anew(tmp_path):
    said = create_secrets(tmp_path, there="pixsem-postgres")
    assert "pixsem-postgres is there already" in said and not (tmp_path / "pixsem-postgres").exists()


def kustomize(folder: str) -> list[dict]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl, which has kustomize in it, is not installed")
    done = subprocess.run([kubectl, "kustomize", str(FOLDER / folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_kustomize_puts_everything_into_one_namespace():
    rendered = kustomize("services")
    assert len(rendered) == len([m for m in manifests() if m.path.parent.name == "services"])
    for value in rendered:
        assert value["kind"] == "Namespace" or value["metadata"]["namespace"] == "pixsem"


def test_kustomize_gives_the_job_the_clusters_own_description():
    (job,) = kustomize("ray-job")
    (cluster,) = kustomize("ray-cluster")
    check_fields(job["spec"], RAY_JOB, "a RayJob")
    assert job["kind"] == "RayJob" and job["spec"]["rayClusterSpec"] == cluster["spec"]


def test_kustomize_gives_the_service_a_cluster_of_one_gpu_with_its_key_and_port():
    (service,) = kustomize("ray-service")
    (cluster,) = kustomize("ray-cluster")
    check_fields(service["spec"], RAY_SERVICE, "a RayService")
    spec = service["spec"]["rayClusterConfig"]
    check_ray_cluster(spec)
    assert {**spec, "headGroupSpec": 0, "workerGroupSpecs": 0} == {
        **cluster["spec"], "headGroupSpec": 0, "workerGroupSpecs": 0,
    }  # fmt: skip
    (group,) = spec["workerGroupSpecs"]
    head, worker = (g["template"]["spec"]["containers"][0] for g in (spec["headGroupSpec"], group))
    (application,) = serve_configuration().applications
    assert cpus_and_gpus(worker)[1] >= application.args["gpus"]
    for container in (head, worker):
        (key,) = (variable for variable in container["env"] if variable["name"] == "PIXSEM_API_KEY")
        secret = key["valueFrom"]["secretKeyRef"]
        assert f"make {secret['name']} " in (FOLDER / "create-secrets.sh").read_text()
    assert {"name": "serve", "containerPort": serve_configuration().http_options.port} in head["ports"]


def test_what_kustomize_is_told_to_take_is_there():
    for path in FOLDER.rglob("kustomization.yaml"):
        for name in yaml.safe_load(path.read_text())["resources"]:
            assert (path.parent / name).exists(), f"{path.relative_to(INFRA)} names {name}"
