"""Every alert is seen firing and seen silent by a test, says what to do, and has its entry in the runbook, whole."""
import pathlib
import re

import yaml
from faults import Faults

faults = Faults()
rules = yaml.safe_load(open("deploy/monitoring/rules.yaml"))
tests = yaml.safe_load(open("deploy/monitoring/rules.test.yaml"))["tests"]
runbook = pathlib.Path("docs/RUNBOOK.md").read_text()
entries = dict(re.findall(r"^### (Quittance\w+)\n(.*?)(?=^##|\Z)", runbook, re.M | re.S))
alerts = [rule for group in rules["groups"] for rule in group["rules"]]

tried = {}
for test in tests:
    for query in test.get("promql_expr_test", []):
        for name in re.findall(r'alertname="(\w+)"', query["expr"]):
            tried.setdefault(name, set()).add(bool(query["exp_samples"]))
for alert in alerts:
    name = alert["alert"]
    faults.unless(tried.get(name) == {True, False}, f"{name} is not seen both firing and silent")
    faults.unless(alert["labels"].get("severity") in ("page", "ticket"), f"{name} has no severity")
    faults.unless(alert["annotations"]["runbook"] == f"docs/RUNBOOK.md#{name.lower()}", f"{name} leads to another entry")
    entry = entries.get(name, "")
    parts = re.findall(r"^\*\*(.+?)\.\*\*", entry, re.M)
    faults.unless(parts == ["Meaning", "Impact", "First", "Stop the bleeding", "Verify"], f"{name}: its entry has {parts}")
    commands = re.findall(r"^\$ ", entry, re.M)
    faults.unless(len(commands) >= 3, f"{name}: its entry has {len(commands)} commands and not three")
for name in set(entries) - {alert["alert"] for alert in alerts}:
    faults.found.append(f"docs/RUNBOOK.md has an entry for {name}, which is no alert")
faults.end(f"{len(alerts)} alerts, {len(tests)} tests, {len(entries)} entries")
