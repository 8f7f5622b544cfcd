"""Kill hundreds of writers: `python tests/soak.py --kills 200`. Prints a line for each memory; exits 1 on any loss."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from crashes import kill_and_check, make_small, writers

EACH = 20
"""Kills of writers to one memory, before a new one is begun."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many writers to kill [200]")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the first memory [the time]")
    given = parser.parse_args()
    make_small()
    done = 0
    with writers() as server:
        while done < given.kills:
            seed, kills = given.seed + done, min(EACH, given.kills - done)
            with tempfile.TemporaryDirectory() as folder:
                acknowledged = kill_and_check(Path(folder) / "facts", server, kills, seed)
            done += kills
            print(f"seed {seed}: {kills} writers killed, {acknowledged} operations acknowledged, none lost", flush=True)
    print(f"{done} writers killed, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
