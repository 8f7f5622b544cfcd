"""Benchmarks: `memedit bench NAME`. One file each, holding a click command called `command` and the function it calls.

A benchmark prints one JSON object with `--json`, a table without; it prints what it measured and nothing else.
"""

from memedit.registry import Registry

benchmarks = Registry(__name__, "benchmark", attribute="command")
