"""`make demo` does what it says: the same script, with the shipped model and encoder, shows the edit at work."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_demo_shows_an_edit_applied_superseded_and_undone() -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "demo.sh")], env=environment, check=True, capture_output=True, text=True
    )
    replies = re.split(r"^.*\$ memedit (.*)$", re.sub(r"\x1b\[\d*m", "", done.stdout), flags=re.MULTILINE)
    asked = list(zip(replies[1::2], (reply.strip() for reply in replies[2::2]), strict=True))
    answers = [reply.splitlines()[0] for command, reply in asked if command.startswith("ask")]
    assert len(answers) == 6
    before, after, by_alias, elsewhere, newer, undone = answers
    assert "English" not in before
    assert after == "English"
    assert by_alias == "Dana Li"
    assert elsewhere == "French"
    assert newer == "Lee Ray"
    assert undone == "Dana Li"
