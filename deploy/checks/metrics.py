"""Every metric that a dashboard or a rule names is exposed by a program that ran, with the labels that it is asked for.

What only appears once something bad has happened (a rescue, a restart of a lane) cannot be seen in an installation where nothing has.
Such a metric has to be registered in the source by its name at least, and is listed."""
import pathlib
import re
import sys

from faults import Faults
from references import expressions, metrics

faults = Faults()
exposed = {}
for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
    sample = re.match(r"(quittance_\w+)(\{.*\})? ", line)
    if sample:
        labels = set(re.findall(r'(\w+)="', sample[2] or ""))
        exposed.setdefault(sample[1], set()).update(labels)
source = "".join(p.read_text() for folder in ("ingress/src", "worker/src", "shared/src", "portal/src") for p in pathlib.Path(folder).rglob("*.rs"))


def registered(name):
    bare = name.removeprefix("quittance_")
    return f'"{bare}"' in source or f'"{name}"' in source


unseen, named = set(), set()
for where, expression in expressions():
    for name, labels in metrics(expression):
        named.add(name)
        if name in exposed:
            faults.unless(labels <= exposed[name], f"{where}: {name} has no label {sorted(labels - exposed[name])}")
            continue
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if registered(base):
            unseen.add(name)
        else:
            faults.found.append(f"{where}: no program has {name}")
for name in sorted(unseen):
    print(f"  not seen, as nothing made it appear, but registered: {name}")
unused = sorted(n for n in exposed if n not in named and not re.search(r"_(bucket|sum|count)$", n))
if unused:
    print(f"  exposed and in no dashboard: {', '.join(unused)}")
faults.unless(len(exposed) > 30, f"only {len(exposed)} metrics were exposed")
faults.end(f"{len(named)} metrics named, {len(exposed)} exposed")
