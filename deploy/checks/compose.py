"""The Compose file holds to the specification, its services are as locked up as the pods are, and what it names is there."""
import json
import pathlib
import re
import sys

import compose_spec
import yaml
from environment import KNOWN, SECRETS
from faults import Faults

path = pathlib.Path(sys.argv[1])
faults = Faults()
# As Compose does it: ${NAME:-default}, ${NAME:?text}, $$.
text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text())
text = re.sub(r"\$\{\w+:\?[^}]*\}", "test", text).replace("$$", "$")
document = yaml.safe_load(text)
try:
    compose_spec.PyCompose.from_json(json.dumps(document))
except Exception as fault:  # whatever the parser says
    faults.found.append(f"{path.name}: {fault}")

make = (path.parent / "secrets/make").read_text()
logins = (path.parent / "logins.sh").read_text()
for name, secret in document["secrets"].items():
    stem = re.sub(r"^(postgres|owner|ingress|worker|portal|redis)_password$|^(owner|ingress|worker|portal)_database_url$", "", name)
    faults.unless(not stem or stem in make, f"secrets/make does not make {name}")
for name, service in document["services"].items():
    for secret in service.get("secrets", []):
        faults.unless(secret in document["secrets"], f"{name}: there is no secret {secret}")
    for network in service["networks"]:
        faults.unless(network in document["networks"], f"{name}: there is no network {network}")
    for other, how in service.get("depends_on", {}).items():
        faults.unless(other in document["services"], f"{name}: there is no service {other}")
        checked = "healthcheck" in document["services"].get(other, {})
        faults.unless(checked or how["condition"] != "service_healthy", f"{name} waits for the health of {other}, which nobody checks")
    if not service["image"].startswith("quittance/"):
        continue
    faults.unless(service.get("read_only") and service.get("user") == "65532:65532", f"{name} may write its files, or is not user 65532")
    faults.unless(service.get("cap_drop") == ["ALL"], f"{name} keeps capabilities")
    names = set(service["environment"])
    faults.unless(names <= KNOWN | {"USER"}, f"{name}: nobody reads {sorted(names - KNOWN)}")
    faults.unless(not names & SECRETS, f"{name}: {sorted(names & SECRETS)} must come from a file")
    for variable, value in service["environment"].items():
        if variable.endswith("_FILE"):
            faults.unless(value.removeprefix("/run/secrets/") in service["secrets"], f"{name}: {variable} is no secret of it")
    faults.unless("build" not in service or (path.parent / service["build"]["context"] / service["build"]["dockerfile"]).exists(), f"{name}: no Dockerfile")
for login in ("quittance_ingress_login", "quittance_worker_login", "quittance_portal_login"):
    faults.unless(login in logins and f"={login}" in text, f"{login} is not made, or gets no role")
for inner in ("ingress", "portal"):
    faults.unless("out" not in document["services"][inner]["networks"], f"the {inner} has a way out")
faults.unless(document["networks"]["inside"]["internal"], "the inner network leads out")
faults.unless([name for name, s in document["services"].items() if s.get("ports")] == ["ingress", "portal"], "more than the ingress and the portal have a port")
faults.end(f"{len(document['services'])} services")
