"""What no API schema knows of the rendered manifests: who may reach whom, what a pod may do, whether names meet, whether a pod gets the
time that it needs to stop. KEDA's resources are held against models made from its CRDs; nothing here asks a cluster."""
import sys

import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from environment import KNOWN, SECRETS
from faults import Faults

PORTS = {"ingress": 9080, "worker": 9081, "portal": 9082}
# Seconds after SHUTDOWN_GRACE_SECS that a program may still need: worker/src/queue/pool.rs has 5 to give back what was cut off and three
# times 5 for its loops; the ingress and the portal count all of that into their grace. All have 5 more for the last spans (shared/src/telemetry.rs).
AFTERWARDS = {"ingress": 5, "portal": 5, "worker": 25}
SPARE = 10
# A staging installation shows that several of each work together, and costs no more than that.
STAGING_MOST = 2
# Names of hosts, Postgres, a collector of spans.
EVERYBODY = {53, 5432, 4318}

faults = Faults()


def matches(selector, labels):
    """Whether a label selector takes in these labels."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def templates(docs):
    """(name, component, pod template) of everything that makes pods."""
    for doc in docs:
        if doc["kind"] in ("Deployment", "Job"):
            template = doc["spec"]["template"]
        elif doc["kind"] == "CronJob":
            template = doc["spec"]["jobTemplate"]["spec"]["template"]
        else:
            continue
        yield f"{doc['kind']}/{doc['metadata']['name']}", template["metadata"]["labels"]["app.kubernetes.io/component"], template


def pods(where, docs):
    config = {key for doc in docs if doc["kind"] == "ConfigMap" for key in doc["data"] if doc["metadata"]["name"].startswith("quittance-")}
    accounts = {doc["metadata"]["name"] for doc in docs if doc["kind"] == "ServiceAccount"}
    for name, component, template in templates(docs):
        at = f"{where}: {name}"
        spec = template["spec"]
        security = spec["securityContext"]
        faults.unless(security.get("runAsNonRoot") and security.get("runAsUser") == 65532, f"{at} may run as root")
        faults.unless(security.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{at} has no seccomp profile")
        faults.unless(spec.get("automountServiceAccountToken") is False, f"{at} gets a token of the cluster's API")
        faults.unless(spec["serviceAccountName"] in accounts, f"{at}: there is no account {spec['serviceAccountName']}")
        secret = [v["secret"] for v in spec["volumes"] if "secret" in v]
        faults.unless(secret and all(s["defaultMode"] == 0o440 for s in secret), f"{at}: secrets are not for its group alone")
        faults.unless(security.get("fsGroup") == 65532, f"{at} cannot read its secrets")
        for container in spec["containers"]:
            inside = container["securityContext"]
            faults.unless(inside.get("readOnlyRootFilesystem"), f"{at} may write its files")
            faults.unless(inside.get("allowPrivilegeEscalation") is False, f"{at} may gain privileges")
            faults.unless(inside["capabilities"] == {"drop": ["ALL"]}, f"{at} keeps capabilities")
            faults.unless({"cpu", "memory"} <= set(container["resources"]["requests"]), f"{at} asks for no resources")
            faults.unless("memory" in container["resources"]["limits"], f"{at} has no bound on memory")
            faults.unless("command" not in container, f"{at}: the entry point of the image is its program, and there is no shell")
            image = container["image"].split(":")[0]
            faults.unless(image in ("quittance/ingress", "quittance/portal", "quittance/worker"), f"{at}: {image} is no image of ours")
            names = {variable["name"] for variable in container.get("env", [])}
            faults.unless(names <= KNOWN | {"USER"}, f"{at}: nobody reads {sorted(names - KNOWN)}")
            open_secrets = names & SECRETS
            faults.unless(not open_secrets, f"{at}: {sorted(open_secrets)} must come from a file")
            for variable in container.get("env", []):
                if variable["name"].endswith("_FILE"):
                    faults.unless(variable["value"].startswith("/run/secrets/quittance/"), f"{at}: {variable['name']} is outside the volume")
    faults.unless(config - {"quittance.rules.yaml"} <= KNOWN | {k for k in config if k.endswith(".json")}, f"{where}: nobody reads {sorted(config - KNOWN)}")


def lifecycle(where, docs):
    for doc in docs:
        if doc["kind"] != "Deployment":
            continue
        template = doc["spec"]["template"]
        component = template["metadata"]["labels"]["app.kubernetes.io/component"]
        at = f"{where}: {component}"
        spec, container = template["spec"], template["spec"]["containers"][0]
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed = before + int(environment["SHUTDOWN_GRACE_SECS"]) + AFTERWARDS[component] + SPARE
        given = spec.get("terminationGracePeriodSeconds", 30)
        faults.unless(given >= needed, f"{at} may need {needed} s to stop and gets {given}")
        faults.unless((before > 0) == (component != "worker"), f"{at}: a preStop is for what a Service leads to")
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        faults.unless(ports["admin"] == PORTS[component], f"{at}: its admin port is {PORTS[component]}")
        for probe, path in (("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            get = container[probe]["httpGet"]
            faults.unless((get["path"], get["port"]) == (path, "admin"), f"{at}: {probe} asks {get}")
        annotations = template["metadata"]["annotations"]
        faults.unless(annotations.get("prometheus.io/port") == str(PORTS[component]), f"{at}: Prometheus looks elsewhere")
        keys = {c["topologyKey"] for c in spec["topologySpreadConstraints"]}
        faults.unless(keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, f"{at} is not spread")
        rolling = doc["spec"]["strategy"]["rollingUpdate"]
        faults.unless(rolling == {"maxUnavailable": 0, "maxSurge": 1}, f"{at} loses pods in a rollout")


def names_meet(where, docs):
    found = {(doc["kind"], doc["metadata"]["name"]): doc for doc in docs}
    labels = {name: template["metadata"]["labels"] for name, _, template in templates(docs)}
    for (kind, name), doc in found.items():
        at = f"{where}: {kind}/{name}"
        if kind == "Service":
            selected = [n for n, l in labels.items() if matches({"matchLabels": doc["spec"]["selector"]}, l)]
            door = {"quittance-ingress": "webhooks", "quittance-portal": "pages"}.get(name)
            faults.unless(selected == [f"Deployment/{name}"] and door, f"{at} leads to {selected}")
            faults.unless([p["targetPort"] for p in doc["spec"]["ports"]] == [door], f"{at} opens more than the door")
        if kind == "PodDisruptionBudget":
            selected = [n for n, l in labels.items() if matches(doc["spec"]["selector"], l)]
            faults.unless(selected == [f"Deployment/{name}"], f"{at} is about {selected}")
        if kind in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = doc["spec"]["scaleTargetRef"]["name"]
            deployment = found.get(("Deployment", target))
            faults.unless(deployment is not None, f"{at}: there is no Deployment {target}")
            faults.unless(deployment and "replicas" not in deployment["spec"], f"{at}: {target} has a number of its own too")
            least = doc["spec"].get("minReplicas") or doc["spec"].get("minReplicaCount")
            faults.unless(least >= 2, f"{at}: one replica is one node away from none")
        if kind == "HorizontalPodAutoscaler" and where == "staging":
            faults.unless(doc["spec"]["maxReplicas"] <= STAGING_MOST, f"{at}: a staging installation needs at most {STAGING_MOST} of each")
        if kind == "ScaledObject":
            stop = found["Deployment", "quittance-worker"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            faults.unless(doc["spec"]["cooldownPeriod"] > stop, f"{at} scales down faster than a worker stops")
            for trigger in doc["spec"]["triggers"]:
                reference = trigger["authenticationRef"]["name"]
                faults.unless(("TriggerAuthentication", reference) in found, f"{at}: there is no {reference}")
        if kind == "Ingress":
            for rule in doc["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    faults.unless(path["path"] == "/webhooks/stripe" and path["pathType"] == "Exact", f"{at} opens {path['path']}")
                    backend = path["backend"]["service"]["name"]
                    faults.unless(("Service", backend) in found, f"{at}: there is no Service {backend}")


def network(where, docs):
    policies = [doc for doc in docs if doc["kind"] == "NetworkPolicy"]
    closed = [p for p in policies if p["spec"]["podSelector"] == {} and set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}]
    faults.unless(len(closed) == 1 and "ingress" not in closed[0]["spec"] and "egress" not in closed[0]["spec"], f"{where}: what no policy names is open")
    for name, component, template in templates(docs):
        mine = [p["spec"] for p in policies if p not in closed and matches(p["spec"]["podSelector"], template["metadata"]["labels"])]
        out = {port["port"] for spec in mine for rule in spec.get("egress", []) for port in rule.get("ports", [{"port": "any"}])}
        into = {port["port"] for spec in mine for rule in spec.get("ingress", []) for port in rule.get("ports", [{"port": "any"}])}
        public = {block["ipBlock"]["cidr"] for spec in mine for rule in spec.get("egress", []) for block in rule["to"] if "ipBlock" in block and block["ipBlock"]["cidr"] == "0.0.0.0/0"}
        at = f"{where}: {name}"
        expected = EVERYBODY | {"ingress": set(), "portal": set(), "migrate": set(), "worker": {6379, 443}, "schedule": {443}}[component]
        faults.unless(out == expected, f"{at} reaches ports {sorted(out, key=str)}, and should reach {sorted(expected)}")
        faults.unless(bool(public) == (443 in expected), f"{at}: a way out of the private network: {bool(public)}")
        reached = set(PORTS.values()) | {"ingress": {8080}, "portal": {8082}}.get(component, set())
        faults.unless(into == reached, f"{at} is reached at ports {sorted(into, key=str)}")


def scaling(where, docs):
    for doc in docs:
        if not doc["apiVersion"].startswith("keda.sh/"):
            continue
        try:
            read = getattr(keda, doc["kind"]).model_validate(doc).model_dump(mode="json", by_alias=True, exclude_unset=True)
        except Exception as fault:  # whatever the model says
            faults.found.append(f"{where}: {doc['kind']}: {fault}")
            continue
        for key in lost(doc, read, doc["kind"]):
            faults.found.append(f"{where}: KEDA does not know {key}")


def lost(given, read, at):
    """Keys that the model has not taken in."""
    if isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            if key not in read:
                yield f"{at}.{key}"
            else:
                yield from lost(value, read[key], f"{at}.{key}")
    elif isinstance(given, list) and isinstance(read, list):
        for n, (a, b) in enumerate(zip(given, read)):
            yield from lost(a, b, f"{at}[{n}]")


count = 0
for path in sys.argv[1:]:
    docs = [doc for doc in yaml.safe_load_all(open(path)) if doc]
    where = path.rsplit("/", 1)[-1].removesuffix(".yaml")
    count += len(docs)
    faults.unless(not any(doc["kind"] == "Secret" for doc in docs), f"{where}: a Secret is in the repository")
    for check in (pods, lifecycle, names_meet, network, scaling):
        check(where, docs)
faults.end(f"{count} resources in {len(sys.argv) - 1} renderings")
