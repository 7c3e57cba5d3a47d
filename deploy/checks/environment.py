"""Names of settings that the programs read, from docs/CONFIGURE.md; a test of ours holds that document against the source."""
import pathlib
import re

TEXT = pathlib.Path("docs/CONFIGURE.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("| `")]
SETTINGS = {name for row in ROWS for name in re.findall(r"`([A-Z][A-Z_0-9]+)`", row.split("|")[1])}
# Marked with ● in the table: they may also come from a file.
SECRETS = {name for row in ROWS if "●" in row.split("|")[1] for name in re.findall(r"`([A-Z][A-Z_0-9]+)`", row.split("|")[1])}
KNOWN = SETTINGS | {f"{name}_FILE" for name in SECRETS}
