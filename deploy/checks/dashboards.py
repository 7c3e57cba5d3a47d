"""Writes every expression of the dashboards as a rule, for promtool to read; and looks at what Grafana would stumble over."""
import json
import pathlib
import sys

import yaml
from faults import Faults
from references import expressions

faults = Faults()
uids, panels = set(), 0
for path in sorted(pathlib.Path("deploy/monitoring/dashboards").glob("*.json")):
    dashboard = json.loads(path.read_text())
    faults.unless(dashboard["uid"] == path.stem and dashboard["uid"] not in uids, f"{path.name}: its uid is not its name, or not its own")
    uids.add(dashboard["uid"])
    ids = [panel["id"] for panel in dashboard["panels"]]
    faults.unless(len(ids) == len(set(ids)), f"{path.name}: two panels have one id")
    taken = set()
    for panel in dashboard["panels"]:
        panels += 1
        at, place = f"{path.name}: {panel['title']}", panel["gridPos"]
        faults.unless(panel["datasource"]["uid"] == "${datasource}", f"{at}: a data source of its own")
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        faults.unless(not cells & taken and place["x"] + place["w"] <= 24, f"{at} lies on another panel, or outside")
        taken |= cells
        references = [target["refId"] for target in panel["targets"]]
        faults.unless(len(references) == len(set(references)), f"{at}: two queries have one letter")
rules = [{"record": f"dashboards:expression_{n}", "expr": expression} for n, (_, expression) in enumerate(expressions())]
pathlib.Path(sys.argv[1]).write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
faults.end(f"{len(uids)} dashboards, {panels} panels")
