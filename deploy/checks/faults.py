"""How a check tells what is wrong: all of it, and an exit code of 1."""
import sys


class Faults:
    def __init__(self):
        self.found = []

    def unless(self, holds, text):
        if not holds:
            self.found.append(text)

    def end(self, looked_at):
        """Ends the check: with what is wrong, or with what was looked at."""
        for fault in self.found:
            print(f"  FAULT {fault}", file=sys.stderr)
        if self.found:
            sys.exit(1)
        print(f"  {looked_at}")
