"""What the suites in Python share: servers, and checks that print `ok` and `not ok`."""

import os
import subprocess
import sys
import traceback

PROFILE = os.environ["CLIENTS_PROFILE"]
TMP = os.environ["CLIENTS_TMP"]
_failed = 0


def server(action, name, *args):
    """Runs server.sh; `start` gives the port."""
    done = subprocess.run(
        [os.environ["CLIENTS_SERVER"], action, name, *args], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout) if action.startswith("start") else None


def server_pid(name):
    with open(f"{TMP}/servers/{name}/pid") as file:
        return int(file.read())


def check(name, run, *args):
    """Runs one check: it passes unless it raises."""
    global _failed
    try:
        run(*args)
    except Exception as error:
        _failed += 1
        print(f"not ok {name}: {type(error).__name__}: {error}")
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "site-packages" not in f.filename]
        print("".join(f"#   {f.filename}:{f.lineno} {f.line}\n" for f in own[-3:]), end="")
    else:
        print(f"ok {name}")
    sys.stdout.flush()


def equal(got, wanted, what=""):
    if got != wanted or isinstance(got, bool) != isinstance(wanted, bool):
        raise AssertionError(f"{what} got {short(got)}, wanted {short(wanted)}")


def short(value):
    text = repr(value)
    return text if len(text) < 600 else f"{text[:400]}... ({len(text)} characters)"


def finish():
    sys.exit(1 if _failed else 0)
