"""The bills of materials hold to the CycloneDX schema, name their program, and have a licence for every component."""
import json
import pathlib
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

for name in ("quittance-ingress", "quittance", "quittance-portal"):
    path = pathlib.Path(sys.argv[1]) / f"{name}.cdx.json"
    text = path.read_text()
    fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if fault:
        sys.exit(f"{path.name}: {fault}")
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == name
    bare = [c["name"] for c in bom["components"] if not c.get("licenses")]
    if bare:
        sys.exit(f"{path.name}: no licence for {bare}")
    # The door and the portal link no Stripe client and no queue (ingress/src/main.rs, portal/src/main.rs).
    if name != "quittance":
        forbidden = [c["name"] for c in bom["components"] if c["name"].startswith(("async-stripe", "apalis", "redis", "reqwest"))]
        if forbidden:
            sys.exit(f"{path.name}: the program links {forbidden}")
