"""The chart as Helm renders it, checked by Helm and by the API server; its network policies, which no plugin here enforces."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # has no types

from tests.cluster import cluster

pytestmark = pytest.mark.cluster

# What the parts with an open way out, for mail and Slack, reach of those with an open way in.
STRANGERS = ("a stranger", "alertmanager")
COMMON = {
    *((part, "mysql", 3306) for part in ("migrate", "console")),
    *(("prometheus", "nginx", 3903), ("console", "prometheus", 9090), ("prometheus", "alertmanager", 9093)),
}
# Who may open a connection to whom, on which port: with two Deployments, and with one Rollout.
ALLOWED = COMMON | {
    *((part, "nginx", 8082) for part in STRANGERS),
    *(("nginx", "stable", 5000), ("nginx", "canary", 5001)),
    *(("prometheus", part, port) for part in ("stable", "canary") for port in (9100, 9101)),
    *((part, "mysql", 3306) for part in ("stable", "canary")),
}
ALLOWED_IN_ROLLOUT = COMMON | {
    *((part, to, port) for part in (*STRANGERS, "notices") for to, port in (("nginx", 8082), ("verdict", 8084))),
    *(("nginx", "service", port) for port in (5000, 5001)),
    *(("prometheus", "service", port) for port in (9100, 9101)),
    *(("service", "mysql", 3306), ("verdict", "prometheus", 9090), ("notices", "prometheus", 9090)),
}
BROKERS = r"fresh.settings.KAFKA_BOOTSTRAP_SERVERS=one.example.org:9092\,two.example.org:9093"
FRESH = ("--set", "fresh.enabled=true", "--set", BROKERS, "--set", "fresh.secret=kafka", "--set", "fresh.kafkaPorts={9094}")
OPERATOR = (
    *("--set", "prometheus.enabled=false", "--set", "alertmanager.enabled=false"),
    *("--set", "prometheus.operator.enabled=true", "--set", "prometheus.operator.labels.release=kps"),
)
ROLLOUT = ("--set", "rollout.enabled=true,verdict.enabled=true,verdict.image=movierec-verdict:1", "--set-string", "image.tag=7")
# Of the whole cluster or of a host, in the order of the file.
OF_THE_OPERATOR = ["DiskFills", "TargetDown", "AlertsNotSent", "MessagesNotSent", "RulesFail", "SettingsRefused", "SeriesGrow"]
OTHER_WAYS = [
    (),
    (*ROLLOUT, "--set", "deployer.enabled=true"),
    ("--set", "mysql.externalHost=db.example.org", "--set", "mysql.passwordsSecret=mine"),
    ("--set", "prometheus.enabled=false", "--set", "alertmanager.enabled=false", "--set", "console.enabled=false"),
    ("--set", "mysql.storage.size=", "--set", "prometheus.storage.size=10Gi", "--set", "stable.spread=preferred"),
    FRESH,
    ("--set", "prometheus.containers=true,nginx.serviceType=ClusterIP"),
    (
        *("--set", r"clusterDomain=example.org,nodeSelector.kubernetes\.io/arch=amd64,nginx.serviceAnnotations.internal=on"),
        *("--set-json", 'tolerations=[{"key": "films", "operator": "Exists"}]'),
        *("--set", r"nginx.serviceType=LoadBalancer,nginx.loadBalancerSourceRanges={10.0.0.0/8}"),
    ),
    ("--set", "nginx.serviceType=LoadBalancer", "--set", "image.pullSecrets={registry}", "--set", "networkPolicies=false"),
]


def rendered(*arguments: str) -> list[dict[str, Any]]:
    """The chart's objects."""
    return [each for each in yaml.safe_load_all(cluster.helm("template", *arguments)) if each]


@pytest.mark.parametrize("arguments", OTHER_WAYS)
def test_the_api_server_knows_every_field(arguments: tuple[str, ...]) -> None:
    """Its own schema checks the objects, strictly, without making them; with other values too."""
    cluster.make_namespace()
    objects = yaml.safe_dump_all(rendered(*arguments))
    checked = cluster.run("kubectl", *("apply", "--dry-run=server", "--validate=strict", "--filename", "-"), content=objects)
    assert checked.count("(server dry run)") == len(rendered(*arguments))


@pytest.mark.parametrize("arguments", [*OTHER_WAYS, (*ROLLOUT, *FRESH)])
def test_every_container_has_the_walls(arguments: tuple[str, ...]) -> None:
    """Non-root, a read-only root, no capability, no new privileges, seccomp, a bound of memory; with other values too."""
    pods = [each["spec"]["template"]["spec"] for each in rendered(*arguments) if "template" in each.get("spec", {})]
    assert len(pods) >= 5
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            walls = container["securityContext"]
            assert walls == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }, container["name"]
            assert container["resources"]["limits"]["memory"]


def test_freshness_has_its_secret_alone_and_the_service_only_reads() -> None:
    """In the pods of both tracks. The pods reach the brokers' ports, and no other part does."""
    objects = rendered(*FRESH)
    policies = {component(each["metadata"]["labels"]): each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}
    ways = {
        part
        for part, policy in policies.items()
        for port in (9092, 9093, 9094)
        if allows(policy["egress"], "to", "a broker", port)
    }
    assert ways == {"stable", "canary", "alertmanager"}
    pods = [each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})]
    sidecars = [(pod, each) for pod in pods for each in pod.get("initContainers", ()) if each["name"] == "fresh"]
    assert sidecars
    for pod, sidecar in sidecars:
        (service,) = pod["containers"]
        assert sidecar["image"] == service["image"]
        mounts = {each["name"]: {mount["name"]: mount for mount in each["volumeMounts"]} for each in (sidecar, service)}
        assert mounts["service"]["fresh"]["readOnly"]
        assert "readOnly" not in mounts["fresh"]["fresh"]
        assert "kafka" in mounts["fresh"]
        others = [each for each in (*pod["initContainers"], service) if each["name"] != "fresh"]
        assert not any(mount["name"] == "kafka" for each in others for mount in each["volumeMounts"])
        assert [each["name"] for each in pod["initContainers"]] == ["shipper", "fresh"], "the shipper ends last"
    with pytest.raises(AssertionError, match=r"set fresh\.settings\.KAFKA_BOOTSTRAP_SERVERS"):
        rendered("--set", "fresh.enabled=true")
    with pytest.raises(AssertionError, match="broker has no port"):
        rendered("--set", "fresh.enabled=true,fresh.settings.KAFKA_BOOTSTRAP_SERVERS=broker")
    with pytest.raises(AssertionError, match="KAFKA_SECURITY_PASSWORD"):
        rendered(*FRESH, "--set", "fresh.settings.KAFKA_SECURITY_PASSWORD=x")


def by_name(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def camel(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules of Prometheus in the operator's writing."""
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    return [{names.get(key, key): value for key, value in rule.items()} for rule in rules]


def test_an_operators_prometheus_gets_the_same_series_and_rules() -> None:
    """The labels that the chart's own Prometheus gives, and its rules but for those on the whole cluster."""
    own = by_name(rendered(), "ConfigMap")["movierec-prometheus"]["data"]
    objects = rendered(*OPERATOR)
    jobs = {each["job_name"]: each for each in yaml.safe_load(own["prometheus.yml"])["scrape_configs"]}
    monitors = by_name(objects, "PodMonitor")
    assert {name.removeprefix("movierec-monitor-") for name in monitors} == {"service", "mtail", "shipper"}
    for name, monitor in monitors.items():
        job = jobs[name.removeprefix("movierec-monitor-")]
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        keep, *labels = job["relabel_configs"]
        assert keep["regex"] == f"movierec;{endpoint['port']};Running"
        assert endpoint["relabelings"] == camel([*labels, {"replacement": job["job_name"], "target_label": "job"}])
        assert endpoint.get("metricRelabelings", []) == camel(job.get("metric_relabel_configs", []))
        assert endpoint["interval"] == job.get("scrape_interval", "15s")
        assert monitor["metadata"]["labels"]["release"] == "kps"
    memory, *groups = by_name(objects, "PrometheusRule")["movierec-rules"]["spec"]["groups"]
    ours = [
        rule
        for file in ("alerts.yml", "release.yml")
        for group in yaml.safe_load(own[file])["groups"]
        for rule in group["rules"]
    ]
    theirs = [rule for group in groups for rule in group["rules"]]
    assert [rule for rule in ours if rule not in theirs and rule["alert"] not in OF_THE_OPERATOR] == []
    assert [rule["alert"] for rule in ours if rule not in theirs] == OF_THE_OPERATOR
    assert [rule for rule in theirs if rule not in ours] == []
    assert [(rule["record"], rule["labels"]) for rule in memory["rules"]] == [("container_memory_rss", {"job": "cadvisor"})]
    with pytest.raises(AssertionError, match=r"set prometheus\.enabled=false"):
        rendered("--set", "prometheus.operator.enabled=true")
    with pytest.raises(AssertionError, match=r"or verdict\.prometheusUrl"):
        rendered(*OPERATOR, *ROLLOUT)


def test_only_an_operators_own_prometheus_may_ask_for_metrics() -> None:
    """In the namespace that the values name."""
    policies = by_name(rendered(*OPERATOR), "NetworkPolicy")
    ways = {
        (name.removeprefix("movierec-"), port["port"])
        for name, policy in policies.items()
        for rule in policy["spec"]["ingress"] or ()
        for peer in rule.get("from", ())
        if peer.get("namespaceSelector") == {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
        for port in rule["ports"]
    }
    assert ways == {*((part, port) for part in ("stable", "canary") for port in (9100, 9101)), ("nginx", 3903)}


def test_metrics_of_containers_need_two_rights() -> None:
    """To list nodes, and to read the metrics of kubelets. Their series are of this release, with the label of the services."""
    objects = rendered("--set", "prometheus.containers=true")
    (role,) = by_name(objects, "ClusterRole").values()
    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [
        (["nodes"], ["list", "watch"]),
        (["nodes/metrics"], ["get"]),
    ]
    (binding,) = by_name(objects, "ClusterRoleBinding").values()
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == f"movierec-{cluster.NAMESPACE}-prometheus"
    text = by_name(objects, "ConfigMap")["movierec-prometheus"]["data"]["prometheus.yml"]
    (job,) = [each for each in yaml.safe_load(text)["scrape_configs"] if each["job_name"] == "cadvisor"]
    assert "static_configs" not in job
    keep = re.compile(job["metric_relabel_configs"][0]["regex"])
    assert keep.fullmatch(f"container_memory_rss;{cluster.NAMESPACE};movierec-stable-1;shipper")
    assert not keep.fullmatch("container_memory_rss;other;movierec-stable-1;shipper")
    assert not keep.fullmatch(f"container_memory_rss;{cluster.NAMESPACE};movierec-stable-1;")
    assert not keep.fullmatch(f"container_fs_reads_total;{cluster.NAMESPACE};movierec-stable-1;shipper")
    assert by_name(rendered("--set", "prometheus.containers=false"), "ClusterRole") == {}


def test_an_upgrade_replaces_a_pod_that_cannot_start_and_none_for_the_charts_version_alone() -> None:
    """So pods do not have the chart's labels, which every object has."""
    for each in rendered(*ROLLOUT):
        if "template" in each.get("spec", {}):
            # Otherwise an upgrade does not replace a pod that cannot start.
            assert each["spec"].get("podManagementPolicy") == ("Parallel" if each["kind"] == "StatefulSet" else None)
            labels = {*each["spec"]["template"]["metadata"]["labels"]}
            assert not labels & {"helm.sh/chart", "app.kubernetes.io/version"}, each["metadata"]["name"]
            assert {"helm.sh/chart", "app.kubernetes.io/version"} < {*each["metadata"]["labels"]}


def test_nginx_has_the_workers_of_the_values_and_room_for_many_pods() -> None:
    """The files of a server name the cores of a machine, and three services."""
    files = by_name(rendered("--set", "nginx.workers=3"), "ConfigMap")
    assert "\nworker_processes 3;\n" in files["movierec-nginx"]["data"]["nginx.conf"]
    assert " zone recommend 1m;\n" in files["movierec-nginx-place"]["data"]["upstream.conf"]


def slowdowns(objects: list[dict[str, Any]]) -> list[str]:
    """The limit of slowdown that each container gets, where it gets one."""
    pods = [each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})]
    variables = [each for pod in pods for container in pod["containers"] for each in container.get("env", ())]
    return [each["value"] for each in variables if each["name"] == "CANARY_MAX_SLOWDOWN"]


def test_a_canary_with_less_load_than_a_stable_pod_may_be_slower() -> None:
    """Its caches are colder. The verdict and the notices have the same limit. The user's own goes before it."""
    own = ("--set-string", "verdict.settings.CANARY_MAX_SLOWDOWN=1.3")
    assert slowdowns(rendered(*ROLLOUT)) == ["1.5", "1.5"]
    assert slowdowns(rendered(*ROLLOUT, "--set", "stable.replicas=8")) == []
    assert slowdowns(rendered(*ROLLOUT, "--set", "stable.replicas=5")) == []
    assert slowdowns(rendered(*ROLLOUT, *own)) == ["1.3", "1.3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "mysql.externalHost=db.example.org"), "mysql.externalHost needs its passwords: set mysql.passwordsSecret"),
        (("--set-string", "verdict.settings.MAX_SLOWDOWN=1.3"), "MAX_SLOWDOWN"),
    ],
)
def test_values_that_would_not_work_are_refused(arguments: tuple[str, ...], message: str) -> None:
    """Before anything is changed on the cluster."""
    with pytest.raises(AssertionError, match=re.escape(message)):
        rendered(*arguments)


SERVER = re.compile(r"^ +server (\S+) resolve weight=(\d+) ", re.MULTILINE)


def closest(pods: int, weight: int) -> int:
    """The canary pods that Argo Rollouts makes for a weight in per cent, with one pod more than `pods` at most."""
    shares = [
        (count, total)
        for total in (pods, pods + 1)
        for count in (pods * weight // 100, -(-pods * weight // 100))
        if 0 < count < total
    ]
    return min(shares, key=lambda share: abs(100 * share[0] / share[1] - weight))[0]


@pytest.mark.parametrize("stable", [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20])
def test_a_rollout_has_the_canary_pods_that_keep_loads_most_nearly_equal(stable: int) -> None:
    """In number and weight for Argo Rollouts. For NGINX, all canary pods together get a fifth of the first tries."""
    objects = rendered(*ROLLOUT, "--set", f"stable.replicas={stable}")
    (spec,) = [each["spec"] for each in objects if each["kind"] == "Rollout"]
    canary = spec["replicas"] - stable

    def unequal(pods: int) -> float:
        """How far the load of a canary pod is from that of a stable pod, as a factor."""
        factor = (1 / pods) / (4 / stable)
        return max(factor, 1 / factor)

    assert unequal(canary) == min(unequal(pods) for pods in range(1, stable + 1))
    assert closest(spec["replicas"], spec["strategy"]["canary"]["steps"][0]["setWeight"]) == canary
    (place,) = [each["data"] for each in objects if each["metadata"]["name"] == "movierec-nginx-place"]
    weights = {name.partition(".")[0]: int(weight) for name, weight in SERVER.findall(place["upstream.conf"])}
    assert weights["movierec-stable"] * stable == 4 * weights["movierec-canary"] * canary


def test_a_rollout_replaces_both_deployments() -> None:
    """Its pods belong to both Services, and its first container names the version. Without our verdict there is none."""
    objects = {(each["kind"], each["metadata"]["name"]): each for each in rendered(*ROLLOUT)}
    spec = objects["Rollout", "movierec-service"]["spec"]
    assert {("Deployment", "movierec-stable"), ("Deployment", "movierec-canary")} & {*objects} == set()
    for track, port in (("stable", 5000), ("canary", 5001)):
        service = objects["Service", f"movierec-{track}"]["spec"]
        assert service["selector"].items() <= spec["template"]["metadata"]["labels"].items()
        assert service["ports"][0]["port"] == port
        assert spec["strategy"]["canary"][f"{track}Service"] == f"movierec-{track}"
    template, policy = spec["template"]["spec"], objects["NetworkPolicy", "movierec-service"]["spec"]
    assert template["containers"][0]["name"] == "service"
    assert [each["port"] for rule in policy["ingress"] for each in rule["ports"]] == [5000, 5001, 9100, 9101]
    assert ("NetworkPolicy", "movierec-canary") not in objects
    with pytest.raises(AssertionError, match=r"verdict\.enabled needs metrics"):
        rendered("--set", "verdict.enabled=true,verdict.image=x:1,prometheus.enabled=false,alertmanager.enabled=false")
    with pytest.raises(AssertionError, match=r"rollout\.enabled needs our verdict"):
        rendered("--set", "rollout.enabled=true")
    with pytest.raises(AssertionError, match=r"image\.tag is stable, but the verdict reads the version from it"):
        rendered(*ROLLOUT, "--set-string", "image.tag=stable")


def test_helm_finds_no_fault() -> None:
    """Nor a value that the schema does not allow."""
    chart = cluster.run(str(cluster.ROOT / "scripts" / "lib" / "chart.sh")).strip()
    assert "1 chart(s) linted, 0 chart(s) failed" in cluster.run("helm", "lint", "--strict", chart)
    with pytest.raises(AssertionError, match="replicas"):
        rendered("--set", "stable.replicas=0")
    with pytest.raises(AssertionError, match="replica"):
        rendered("--set", "stable.replica=2")


@pytest.mark.parametrize(("stable", "canary", "weights"), [(2, 1, (4, 2)), (8, 2, (8, 8)), (3, 2, (8, 3))])
def test_the_canary_pods_get_a_fifth_together(stable: int, canary: int, weights: tuple[int, int]) -> None:
    """The weight is of each pod of a name."""
    objects = rendered("--set", f"stable.replicas={stable}", "--set", f"canary.replicas={canary}")
    (place,) = [each["data"] for each in objects if each["metadata"]["name"] == "movierec-nginx-place"]
    lines = [line.split() for line in place["upstream.conf"].splitlines() if line.strip().startswith("server ")]
    stable_host, canary_host = (
        f"movierec-stable.{cluster.NAMESPACE}.svc.cluster.local:5000",
        f"movierec-canary.{cluster.NAMESPACE}.svc.cluster.local:5001",
    )
    shares = {words[1]: int(words[3].removeprefix("weight=")) for words in lines if words[3].startswith("weight=")}
    assert shares == {stable_host: weights[0], canary_host: weights[1]}
    assert weights[0] * stable == 4 * weights[1] * canary
    assert [words[1:4] for words in lines if "backup" in words] == [[stable_host, "resolve", "backup"]]


def component(labels: dict[str, str]) -> str:
    """The part that labels are of."""
    return labels["app.kubernetes.io/component"]


def allows(rules: list[dict[str, Any]] | None, side: str, other: str, port: int) -> bool:
    """Whether a policy's rules let a connection with another part through. A rule without a side is for everybody."""
    return any(
        (side not in rule or other in {component(peer["podSelector"]["matchLabels"]) for peer in rule[side]})
        and ("ports" not in rule or port in {each["port"] for each in rule["ports"]})
        for rule in rules or ()
    )


@pytest.mark.parametrize("rollout", [False, True])
def test_policies_allow_each_part_what_it_needs_and_no_more(*, rollout: bool) -> None:
    """For every pair of parts and every port: out of the one, and into the other. Each part has a policy."""
    objects = rendered(*(ROLLOUT if rollout else ()))
    policies: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for each in objects:
        if each["kind"] == "NetworkPolicy":
            sides = policies.setdefault(component(each["spec"]["podSelector"]["matchLabels"]), {"ingress": [], "egress": []})
            for side, rules in sides.items():
                rules.extend(each["spec"].get(side) or ())
    pods = {component(each["spec"]["template"]["metadata"]["labels"]) for each in objects if "template" in each.get("spec", {})}
    assert set(policies) == pods
    allowed = ALLOWED_IN_ROLLOUT if rollout else ALLOWED
    ports = {port for *_, port in allowed}
    found = {
        (client, server, port)
        for client in ({*policies, "a stranger"})
        for server in policies
        for port in ports
        if allows(policies[server]["ingress"], "from", client, port)
        and (client not in policies or allows(policies[client]["egress"], "to", server, port))
    }
    assert found == allowed
    assert {part for part, sides in policies.items() if {} in sides["egress"]} == {"alertmanager"} | (
        {"notices"} if rollout else set()
    )
