"""The command as its own process: what it imports, terminals, pipes, locales, kills, two at once, bad folders."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest

from memedit.edits import Draft
from memedit.memory import EditMemory

HEAVY = ("torch", "transformers", "langchain", "langchain_core", "faiss", "sentence_transformers", "onnxruntime")
COMMAND = (sys.executable, "-m", "memedit")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in; its `facts` is the memory."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"*": "I could not say."}), encoding="utf-8")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LC_ALL", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "MEMEDIT_ENCODER": "letters",
        "MEMEDIT_MODEL": f"scripted:{script}",
        "MEMEDIT_MEMORY": str(tmp_path / "facts"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


OWN_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal the session's own, so that Ctrl-C typed there is a signal, and one that is not ignored, as it is
below a job that a shell put into the background."""


def memedit(place: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """Run it without a terminal; its standard output."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=place,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout


def converse(
    place: Path,
    arguments: Sequence[str],
    script: Sequence[tuple[str, str]] = (),
    *,
    code: int = 0,
    columns: int = 80,
    command: Sequence[str] = COMMAND,
) -> str:
    """Run it on a terminal of its own: wait for each text, then type what goes with it. All that was shown."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *command, *arguments],
        cwd=place,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown, seen, waiting = "", 0, list(script)
    raw, typed = b"", ""
    try:
        patience = 300
        while True:
            if not select.select([master], [], [], 2)[0]:
                # Between a prompt and the reading of its answer Ctrl-C is lost: a person presses it again.
                if typed.endswith("\x03"):
                    os.write(master, b"\x03")
                patience -= 1
                assert patience, f"it waits for something else: {shown!r}"
                continue
            try:
                chunk = os.read(master, 4096)
            except OSError:  # the other end has closed
                chunk = b""
            raw += chunk
            if not chunk:
                break
            assert len(raw) < 1_000_000, "it does not stop"
            shown = raw.decode(errors="replace")
            while waiting and (at := shown.find(waiting[0][0], seen)) >= 0:
                awaited, typed = waiting.pop(0)
                seen = at + len(awaited)
                os.write(master, typed.encode())
        assert process.wait() == code, shown
        assert not waiting, shown
        return shown.replace("\r\n", "\n")
    finally:
        os.close(master)
        if process.poll() is None:
            process.kill()
            process.wait()


def fill(place: Path, number: int, text: str = "Fort {n} has {n} towers") -> None:
    with EditMemory.open(place / "facts", encoder="letters") as memory:
        memory.add_many(
            Draft(statement=text.format(n=n), subject=f"Fort {n}", relation="towers", target=f"{n} towers")
            for n in range(number)
        )


# Imports: what makes a command start at once


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], ()),
        (["list", "--help"], ()),
        (["bench", "--help"], ()),
        (["add", "The capital of Syldavia is Klow"], ()),
        (["list"], ()),
        (["show", "{id}"], ()),
        (["history"], ()),
        (["undo", "--last", "1", "--yes"], ()),
        (["remove", "{id}", "--yes"], ()),
        (["export"], ()),
        (["stats"], ()),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_needs_no_model_loads_none(place: Path, arguments: list[str], allowed: tuple[str, ...]) -> None:
    id_ = memedit(place, "add", "The capital of Ruritania is Strelsau").split()[0]
    given = [argument.format(id=id_) for argument in arguments]
    program = (
        "import atexit, sys\n"
        "from memedit.cli import main\n"
        f"watched = {(*HEAVY, 'sqlalchemy', 'rich')}\n"
        "atexit.register(lambda: print('LOADED', *(name for name in watched if name in sys.modules)))\n"
        f"sys.argv = ['memedit', *{given!r}]\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    assert not loaded & set(HEAVY)
    assert "rich" not in loaded  # no terminal, no table
    if "--help" in arguments:
        assert "sqlalchemy" not in loaded


def test_a_cold_explain_imports_no_masked_arrays(place: Path) -> None:
    memedit(place, "add", "The capital of Ruritania is Strelsau")
    program = (
        "import atexit, sys\n"
        "from memedit.cli import main\n"
        "atexit.register(lambda: print('LOADED', 'numpy' in sys.modules, 'numpy.ma' in sys.modules))\n"
        "sys.argv = ['memedit', 'explain', 'What is the capital of Ruritania?']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED True False"  # a thirtieth of a second each time


def test_the_starter_of_a_checkout_is_the_command(place: Path) -> None:
    starter = Path(__file__).parent.parent / "cli.py"
    done = subprocess.run([sys.executable, str(starter), "--version"], cwd=place, capture_output=True, text=True)
    assert done.stdout.startswith("memedit "), done.stderr


# Terminals


def test_a_table_fits_eighty_columns(place: Path) -> None:
    fill(place, 3, "Fort {n} has [bold]{n}[/bold] towers and a long story that goes on and on and does not end soon")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", converse(place, ["list"]))
    lines = shown.splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert lines[0].split() == ["id", "since", "statement"]
    assert shown.count("[bold]") == 3
    assert len(re.findall(r"e-[0-9a-f]{10}", shown)) == 3


def test_the_terminal_gets_the_newest_hundred_and_is_told(place: Path) -> None:
    fill(place, 120)
    assert "--limit 0 shows all" in converse(place, ["list"])
    assert len(memedit(place, "list").splitlines()) == 120


def test_no_color_is_obeyed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[2m" in converse(place, ["ask", "Who is it?"])
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in converse(place, ["ask", "Who is it?"])
    fill(place, 1)
    assert "\x1b[3" not in converse(place, ["list"])


def test_control_codes_of_a_model_do_not_reach_a_terminal(place: Path) -> None:
    (place / "script.json").write_text(json.dumps({"*": "one\x1b[2Jtwo"}))
    assert "\x1b[2J" not in converse(place, ["ask", "Who is it?"])


def test_confirming_on_a_terminal(place: Path) -> None:
    fill(place, 2)
    assert "would undo" in converse(place, ["undo", "--last", "1"], [("[y/N]", "n\n")], code=130)
    assert len(memedit(place, "list").splitlines()) == 2
    converse(place, ["undo", "--last", "1"], [("[y/N]", "y\n")])
    assert len(memedit(place, "list").splitlines()) == 1
    id_ = memedit(place, "list").split()[0]
    converse(place, ["remove", id_], [("[y/N]", "\x03")], code=130)
    converse(place, ["purge", "--id", id_], [("[y/N]", "\x04")], code=130)
    assert len(memedit(place, "list").splitlines()) == 1


def test_progress_is_shown_on_a_terminal_alone(place: Path) -> None:
    lines = [json.dumps({"statement": f"Fort {n} has {n} towers"}) for n in range(50)]
    (place / "facts.jsonl").write_text("\n".join(lines))
    assert "50 added" in converse(place, ["import", "facts.jsonl"])
    done = subprocess.run([*COMMAND, "rebuild"], cwd=place, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stderr


# Chat


def test_chat_on_a_terminal(place: Path) -> None:
    shown = converse(
        place,
        ["chat"],
        [
            ("> ", "/remember The capital of Ruritania is Strelsau\n"),
            ("e-", "The capital of Ruritania is\n"),
            ("(edit e-", "/why\n"),
            ("threshold", "/forget Strelsau\n"),
            ("forgot", "/undo\n"),
            ("undone: remove", ""),
            ("> ", "half a line\x03"),
            ("> ", "\x04"),
        ],
    )
    assert "I could not say." in shown
    assert "Traceback" not in shown
    history = (place / "state" / "memedit" / "chat_history").read_text()
    assert "/remember The capital of Ruritania is Strelsau" in history
    assert (place / "state" / "memedit" / "chat_history").stat().st_mode & 0o077 == 0


def test_ctrl_c_stops_a_reply_and_not_the_chat(place: Path) -> None:
    endless = place / "endless.py"
    endless.write_text(
        "from memedit.models import scripted\n"
        "def stream(self, messages, **parameters):\n"
        "    if len(messages) == 1 and messages[0].content == 'go on':\n"
        "        for _ in range(100_000):\n"
        "            yield 'and on '\n"
        "    yield f'{len(messages)} message'\n"
        "scripted.Scripted.stream = stream\n"
        "from memedit.cli import main\n"
        "main()\n"
    )
    talk = [("> ", "go on\n"), ("and on and on", "\x03"), ("stopped", "hello\n"), ("1 message", "/quit\n")]
    shown = converse(place, ["chat"], talk, command=(sys.executable, str(endless)))
    assert "forgotten" in shown


# Pipes, streams, locales


def test_a_reader_that_leaves_is_no_accident(place: Path) -> None:
    fill(place, 5000)
    process = subprocess.Popen([*COMMAND, "list"], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith("e-")
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(place: Path, closed: str) -> None:
    program = " ".join([f"'{sys.executable}'", "-m memedit"])
    shell = f"{program} add 'The capital of Ruritania is Strelsau' {closed} && {program} list {closed}"
    done = subprocess.run(["sh", "-c", shell], cwd=place, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    refused = subprocess.run(
        ["sh", "-c", f"{program} undo --last 1 {closed}"], cwd=place, capture_output=True, text=True
    )
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False), refused.stderr
    assert "Strelsau" in memedit(place, "list")
    assert json.loads(memedit(place, "doctor", "--json"))["healthy"]


@pytest.mark.parametrize(
    "locale",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "C"],
)
def test_a_locale_without_these_letters(place: Path, locale: dict[str, str]) -> None:
    memedit(place, "add", "斑马的皮肤是黑色的")
    assert "\\u6591" in memedit(place, "list", **locale)
    assert json.loads(memedit(place, "list", "--json", **locale))["edits"][0]["statement"] == "斑马的皮肤是黑色的"
    assert "斑马" in memedit(place, "list")


def test_bytes_that_are_no_text_are_refused(place: Path) -> None:
    done = subprocess.run([*COMMAND, "add", b"caf\xe9 costs 3"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 2
    assert "not valid text" in done.stderr


# Kills, several at once, folders


def test_a_killed_import_goes_on_where_it_stopped(place: Path) -> None:
    number = 12_000
    lines = [json.dumps({"statement": f"Fort {n} has {n} towers", "subject": f"Fort {n}", "relation": "towers",
                         "target": f"{n} towers"}) for n in range(number)]  # fmt: skip
    (place / "facts.jsonl").write_text("\n".join(lines))
    process = subprocess.Popen([*COMMAND, "import", "facts.jsonl"], cwd=place, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if (place / "facts" / "journal.db").exists() and _count(place):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    found = json.loads(memedit(place, "import", "facts.jsonl", "--json"))
    assert found["added"] + found["skipped"] == number
    assert not found["faults"]
    edits = json.loads(memedit(place, "list", "--json", "--state", "all"))["edits"]
    assert len(edits) == len({edit["statement"] for edit in edits}) == number


def _count(place: Path) -> int:
    import sqlite3

    database = sqlite3.connect(f"file:{place / 'facts' / 'journal.db'}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return (
            max((database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables), default=0) > 100
        )
    except sqlite3.OperationalError:  # being made
        return 0
    finally:
        database.close()


def test_two_terminals_at_once(place: Path) -> None:
    for name in "ab":
        lines = [json.dumps({"statement": f"Fort {name}{n} has {n} towers"}) for n in range(300)]
        (place / f"{name}.jsonl").write_text("\n".join(lines))
    both = [
        subprocess.Popen([*COMMAND, "import", f"{name}.jsonl"], cwd=place, stdout=subprocess.DEVNULL) for name in "ab"
    ]
    assert [process.wait() for process in both] == [0, 0]
    found = memedit(place, "list").splitlines()
    assert len(found) == len({line.split("\t")[0] for line in found}) == 600
    assert json.loads(memedit(place, "doctor", "--json"))["healthy"]


def test_a_folder_that_may_not_be_written(place: Path) -> None:
    fill(place, 1)
    readonly = place / "readonly"
    readonly.mkdir()
    readonly.chmod(0o555)
    try:
        if os.geteuid() == 0:  # for root nothing is forbidden; a file in the way stands for it
            readonly = place / "script.json"
        for verb, code in ((["add", "The capital of Ruritania is Strelsau"], 3), (["ask", "Who?"], 0)):
            done = subprocess.run(
                [*COMMAND, "--memory", str(readonly / "facts"), *verb], cwd=place, capture_output=True, text=True
            )
            assert done.returncode == code, done.stderr  # asking writes nothing: without a memory nothing is remembered
            assert "memedit: " in done.stderr if code else "no memory" in done.stderr
            assert "Traceback" not in done.stderr
    finally:
        (place / "readonly").chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_memory_that_may_only_be_read_is_read(place: Path) -> None:
    fill(place, 2)
    for path in (place / "facts").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (place / "facts").chmod(0o555)
    try:
        assert len(memedit(place, "list").splitlines()) == 2
        memedit(place, "add", "The capital of Ruritania is Strelsau", code=3)
    finally:
        (place / "facts").chmod(0o755)
