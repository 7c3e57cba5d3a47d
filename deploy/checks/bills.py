"""The bills of materials hold to the CycloneDX schema, name their program, have a licence for every component, and the list of licences
names every component.

  bills.py BILLS           bills of what the programs are linked with
  bills.py BILLS IMAGES    and every file in IMAGES/image-NAME is out of a package that NAME's bill has, or made by deploy/images/rootfs
"""
import json
import os
import pathlib
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

IMAGES = {"quittance-ingress": "ingress", "quittance": "worker", "quittance-portal": "portal"}
# What rootfs writes itself, beside the program.
WRITTEN = {"/etc/passwd", "/etc/group", "/etc/nsswitch.conf"}


def bill(folder, name):
    path = folder / f"{name}.cdx.json"
    text = path.read_text()
    fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if fault:
        sys.exit(f"{path.name}: {fault}")
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == name
    bare = [c["name"] for c in bom["components"] if not c.get("licenses")]
    if bare:
        sys.exit(f"{path.name}: no licence for {bare}")
    listed = (folder / f"{name}.licences.txt").read_text()
    unnamed = [c["name"] for c in bom["components"] if f"\n{c['name']} {c['version']}: " not in listed]
    if unnamed:
        sys.exit(f"{name}.licences.txt does not name {unnamed}")
    assert any(c["name"] == "rust-std" for c in bom["components"]), f"{path.name}: Rust's standard library is linked, and not in it"
    # Of a package of the distribution the whole text goes along.
    for component in bom["components"]:
        for licence in component["licenses"]:
            text = licence.get("license", {}).get("text", {}).get("content", "")
            if text not in listed:
                sys.exit(f"{name}.licences.txt does not have the text of {component['name']}")
    # The door and the portal link no Stripe client and no queue (ingress/src/main.rs, portal/src/main.rs).
    if name != "quittance":
        forbidden = [c["name"] for c in bom["components"] if c["name"].startswith(("async-stripe", "apalis", "redis", "reqwest"))]
        if forbidden:
            sys.exit(f"{path.name}: the program links {forbidden}")
    return bom


def files(root):
    """Every file of an image, as the image has it. What deploy/check mounts secrets over is nobody's."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = "/" + str((pathlib.Path(folder) / name).relative_to(root))
            if not path.startswith("/run/secrets/"):
                yield path


def image(root, bom, name):
    owner = {}
    for component in bom["components"]:
        for told in component.get("properties", []):
            if told["name"] == "quittance:file":
                owner[told["value"]] = component
    found = set(files(root))
    nobodys = sorted(found - set(owner) - WRITTEN - {f"/{name}"})
    if nobodys:
        sys.exit(f"{root.name}: the bill of {name} has no package for {nobodys}")
    missing = sorted(set(owner) - found)
    if missing:
        sys.exit(f"{root.name}: the bill of {name} has files that are not there: {missing}")
    for component in owner.values():
        told = {p["name"] for p in component["properties"]}
        assert {"quittance:source", "quittance:source-version"} <= told and component["purl"].startswith("pkg:deb/"), component["name"]
    return len(found), sorted({c["name"] for c in owner.values()})


bills = pathlib.Path(sys.argv[1])
for name, folder in IMAGES.items():
    bom = bill(bills, name)
    if len(sys.argv) > 2:
        count, owners = image(pathlib.Path(sys.argv[2]) / f"image-{folder}", bom, name)
        print(f"  {folder}: each of {count} files is ours or out of {', '.join(owners)}")
