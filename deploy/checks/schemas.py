"""The rendered manifests hold to the API schemas of several releases of Kubernetes, strictly: no unknown key.

The schemas are those that the package kubernetes-validate brings. Its own command reads them anew for each resource, which takes
minutes; here each release is read once."""
import sys

import yaml
from faults import Faults
from jsonschema.validators import Draft202012Validator
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

# The oldest release that has all that is used (a sleep as preStop, since 1.30 without asking for it), and the newest of the package.
RELEASES = ("1.32", all_versions()[-1])

faults = Faults()
documents = []
for path in sys.argv[1:]:
    where = path.rsplit("/", 1)[-1].removesuffix(".yaml")
    documents += [(where, doc) for doc in yaml.safe_load_all(open(path)) if doc]
checked, skipped = 0, set()
for release in RELEASES:
    version = [v for v in all_versions() if v.startswith(release)][-1]
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    definitions = Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))
    registry = (definitions @ Registry()).crawl()
    validators = {}
    for where, doc in documents:
        group, _, api = doc["apiVersion"].rpartition("/")
        if group.endswith("keda.sh"):
            skipped.add(doc["kind"])
            continue
        name = f"{doc['kind'].lower()}-{group.split('.')[0] + '-' if group else ''}{api}"
        if name not in validators:
            try:
                schema = schema_contents(f"{folder}/{name}.json", version)
            except FileNotFoundError:
                faults.found.append(f"{where}: {release} has no {doc['kind']} of {doc['apiVersion']}")
                continue
            validators[name] = Draft202012Validator(schema, registry=Resource.from_contents(schema) @ registry)
        checked += 1
        for fault in validators[name].iter_errors(doc):
            at = "/".join(str(step) for step in fault.absolute_path)
            faults.found.append(f"{where}: {doc['kind']}/{doc['metadata']['name']} at {at}, {release}: {fault.message[:200]}")
if skipped:
    print(f"  no part of Kubernetes, looked at below: {', '.join(sorted(skipped))}")
faults.end(f"{checked} resources against {', '.join(RELEASES)}")
