"""The expressions of dashboards and rules, and the metrics with their labels that they name."""
import json
import pathlib
import re

import yaml


def expressions():
    """(where, PromQL) of everything that Prometheus is asked."""
    for path in sorted(pathlib.Path("deploy/monitoring/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                # Grafana puts in how far two samples must be apart.
                yield f"{path.name}: {panel['title']}", target["expr"].replace("$__rate_interval", "5m")
    for group in yaml.safe_load(open("deploy/monitoring/rules.yaml"))["groups"]:
        for rule in group["rules"]:
            yield f"rules.yaml: {rule['alert']}", rule["expr"]


def metrics(expression):
    """(metric, labels that it is asked for) in an expression."""
    for name, selector in re.findall(r"\b(quittance_\w+)(\{[^}]*\})?", expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
