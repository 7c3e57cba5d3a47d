"""Every `quittance` command in the documents for operators exists, with the options that it is given: asked of the program itself."""
import pathlib
import re
import shlex
import subprocess
import sys

from faults import Faults

DOCUMENTS = ["RUNBOOK", "INSTALL", "UPGRADE", "SECRETS", "BACKUP", "STRIPE", "SIZING", "CONFIGURE"]
program = pathlib.Path(sys.argv[1]) / "quittance"
faults = Faults()
helps = {}


def help_of(path):
    if path not in helps:
        run = subprocess.run([program, *path, "--help"], capture_output=True, text=True)
        helps[path] = run.stdout if run.returncode == 0 else None
    return helps[path]


def is_subcommand(path, word):
    text = help_of(path) or ""
    commands = text.split("\nCommands:\n", 1)
    return len(commands) == 2 and re.search(rf"^  {re.escape(word)}(\s|$)", commands[1], re.M) is not None


def check(where, command):
    words = shlex.split(command, comments=True)[1:]
    path = ()
    if words == ["--version"]:
        return
    while words and not words[0].startswith("-") and is_subcommand(path, words[0]):
        path += (words.pop(0),)
    text = help_of(path)
    if not path or text is None:
        return faults.found.append(f"{where}: there is no command `{command}`")
    if "\nCommands:\n" in text and path != ():
        return faults.found.append(f"{where}: `{command}` wants a subcommand of {' '.join(path)}")
    for word in words:
        if word.startswith("--"):
            option = word.split("=")[0]
            faults.unless(re.search(rf"{re.escape(option)}\b", text), f"{where}: `{' '.join(path)}` has no {option}")


count = 0
for name in DOCUMENTS:
    text = pathlib.Path(f"docs/{name}.md").read_text()
    commands = re.findall(r"^\$ (?:[A-Z_]+=\S+ )*(quittance .+)$", text, re.M) + re.findall(r"`(quittance [^`]+)`", text)
    for command in commands:
        count += 1
        # In a pipe, only the first part is ours; `…` stands for what the reader knows.
        command = re.split(r" [|>&;]|\\$", command)[0].replace("…", "X")
        check(f"docs/{name}.md", command)
faults.unless(count > 60, f"only {count} commands were found")
faults.end(f"{count} commands")
