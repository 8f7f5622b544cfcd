"""`memedit chat`: a conversation in which facts can be changed.

Lines that begin with a slash edit the memory or look into it; every other line is a turn. The gate sees the
conversation so far, so that "and who leads it now?" is understood. Facts take effect from the next turn on. On a
terminal there is line editing with a history (readline; kept in the user's state folder, erased by `memedit purge`,
since it holds what was typed); without one the same lines are read from standard input, replies go to stdout and the
rest to stderr, so that a script can hold a conversation.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memedit import terminal
from memedit.edits import DEFAULT_NAMESPACE, Answer, Edit, Message, checked_namespace
from memedit.errors import InputError, MemEditError
from memedit.patches import conditional_of, feedback_draft

if TYPE_CHECKING:
    from memedit.editor import Editor
    from memedit.memory import EditMemory

HISTORY_LINES = 1000
_MEANT = re.compile(r"\bI (?:mean|meant) \S.*", re.IGNORECASE)
CONTEXT_SHARE = 0.75
"""Share of the model's context that the conversation may fill: facts and the reply need the rest."""


class Leave(Exception):  # noqa: N818 - not an error: /quit
    """The conversation is over."""


class Chat:
    """One conversation over a memory and an editor.

    `run` reads lines until they end; `turn` and `command` handle one line each and can be called by themselves.
    """

    def __init__(
        self, memory: EditMemory, editor: Editor, *, namespace: str = DEFAULT_NAMESPACE, quiet: bool = False
    ) -> None:
        self.memory = memory
        self.editor = editor
        self.namespace = checked_namespace(namespace)
        self.quiet = quiet
        self.messages: list[Message] = []
        self.last: Answer | None = None
        self.commands: dict[str, Callable[[str], None]] = {
            "remember": self.remember,
            "forget": self.forget,
            "undo": self.undo,
            "why": self.why,
            "facts": self.facts,
            "patch": self.patch,
            "wrong": self.wrong,
            "clear": self.clear,
            "help": self.help,
            "quit": self.quit,
        }

    def run(self) -> int:
        """Hold the conversation. The exit code: 0, or without a terminal that of the first line that failed."""
        alone = not (terminal.is_terminal(sys.stdin) and terminal.is_terminal(sys.stdout))
        code = 0
        if sys.stdin is None:
            raise InputError("standard input is closed, so there is nobody to talk with")
        if not alone:
            _start_line_editing(list(self.commands))
            self.say("/help names the commands, Ctrl-C stops a reply, Ctrl-D leaves")
        try:
            while True:
                line = ""
                try:
                    line = sys.stdin.readline() if alone else input("> ") + "\n"
                    if not line:
                        return code
                    self.take(line.strip())
                except Leave:
                    return code
                except EOFError:  # Ctrl-D, which leaves the cursor behind the prompt
                    print(file=sys.stderr)
                    return code
                except KeyboardInterrupt:  # a reply is stopped; at the prompt what was typed is thrown away
                    if alone:
                        raise
                    print(file=sys.stderr)
                    if line.strip() and not line.startswith("/"):
                        self.say("stopped; this turn is forgotten")
                except MemEditError as error:
                    print(f"memedit: {terminal.plain(error, keep=chr(10))}", file=sys.stderr)
                    code = code or (error.exit_code if alone else 0)
        finally:
            if not alone:
                _end_line_editing()

    def take(self, line: str) -> None:
        """One line: a command, a turn, or nothing. Raises Leave on /quit, MemEditError where it fails."""
        if line.startswith("/"):
            name, _, rest = line[1:].partition(" ")
            if name not in self.commands:
                raise InputError(f"there is no /{name}; there are {', '.join('/' + c for c in self.commands)}")
            self.commands[name](rest.strip())
        elif line:
            self.turn(line)

    def turn(self, text: str) -> Answer:
        """One turn, streamed to stdout. A turn that fails or is stopped leaves the conversation as it was."""
        messages = self._fitting([*self.messages, Message("user", text)])
        replies = self.editor.stream(messages, namespace=self.namespace)
        terminal.reply(replies)
        self.last = replies.answer
        self.messages = [*messages, Message("assistant", self.last.text)]
        for hit in self.last.edits:
            self.say(f"(edit {hit.edit.id}, p = {hit.probability or 0:.2f})")
        if len(messages) > 1 and (meant := _MEANT.search(text)):
            self.say(f"to have that kept for the next time: /wrong {meant[0]}")
        return self.last

    def _fitting(self, messages: list[Message]) -> list[Message]:
        """The messages without the oldest turns, where the model's context cannot hold them all."""
        model = self.editor.model
        if model.context_tokens is None:
            return messages
        costs = [model.count_tokens(message.content) + 8 for message in messages]
        first = 0
        while len(messages) - first > 1 and sum(costs[first:]) > CONTEXT_SHARE * model.context_tokens:
            first += 2  # a turn and its reply
        if first:
            self.say(f"the oldest turns are left out: {model.name} holds no more; /clear begins a new conversation")
        return messages[first:]

    def remember(self, text: str) -> None:
        """Write a fact."""
        receipt = self.memory.add(text, namespace=self.namespace)
        self.say(f"{receipt.edit.id}  {receipt.edit.statement}")
        for old in receipt.superseded:
            self.say(f"supersedes {old.id}  {old.statement}")
        for other in receipt.possible_conflicts:
            self.say(f"may contradict {other.id}  {other.statement}")
        self._warn([*receipt.superseded, *receipt.possible_conflicts])

    def forget(self, text: str) -> None:
        """Remove the fact with this id, or the one that holds this text."""
        if not text:
            raise InputError("say which: /forget ID, or some words of the fact; /facts lists them")
        found = self._find(text)
        if len(found) != 1:
            for edit in found:
                self.say(f"{edit.id}  {edit.statement}")
            raise InputError(f"{len(found) or 'no'} facts hold “{text}”; say which by its id (/facts lists them)")
        self.memory.remove(found[0].id, namespace=self.namespace)
        self.say(f"forgot {found[0].id}  {found[0].statement}   (/undo brings it back)")
        self._warn(found)

    def _find(self, text: str) -> list[Edit]:
        if text.startswith("e-") and " " not in text:
            return [self.memory.get(text, namespace=self.namespace)]
        found = self.memory.list(namespace=self.namespace, text=text)
        whole = [edit for edit in found if edit.statement.casefold() == text.casefold()]
        return whole or found

    def undo(self, text: str) -> None:
        """Undo the last write, or the last N."""
        if text and not (text.isascii() and text.isdigit() and int(text) > 0):
            raise InputError("/undo takes nothing or how many writes to undo, such as /undo 2")
        for record in self.memory.undo(last=int(text or 1), namespace=self.namespace):
            self.say(f"undone: {record.op} {record.id}  {record.statement or ' '.join(record.targets)}")
        self._warn([])

    def why(self, text: str) -> None:
        """Say why the last reply came about, or what would be decided about a question."""
        if text:
            messages = [*self.messages, Message("user", text)]
            decision = self.editor.decide(messages, namespace=self.namespace, weights=True)
        elif self.last is None or self.last.decision is None:
            raise InputError("nothing has been asked yet; /why QUESTION says what would be decided")
        else:
            decision = self.last.decision
        chosen = {hit.edit.id for hit in decision.hits}
        for hit in decision.candidates:
            mark = "in scope    " if hit.edit.id in chosen else "out of scope"
            p = "" if hit.probability is None else f"p = {hit.probability:.3f}  "
            self.say(f"{mark}  {p}{hit.edit.id}  {hit.edit.statement}")
        verdict = f"{len(chosen)} in scope" if chosen else "out of scope: the model answers by itself"
        self.say(f"{verdict}; threshold p >= {decision.threshold:.3f}, judged: {decision.query}")

    def facts(self, text: str) -> None:
        """List the facts, or those that hold some words."""
        found = self.memory.list(namespace=self.namespace, limit=100, text=text or None, patches=False)
        for edit in found:
            self.say(f"{edit.id}  {edit.statement}")
        if not found or len(found) == 100:
            self.say("the newest 100; `memedit list` shows more" if found else "no such facts")

    def patch(self, text: str) -> None:
        """Write a patch, “if …, then …”; without words, list those there are."""
        if not text:
            found = self.memory.list(namespace=self.namespace, patches=True)
            for edit in found:
                self.say(f"{edit.id}  {edit.statement}")
            if not found:
                self.say("no patches; /patch if the user asks for …, then decline")
            return
        edit = self.memory.add(text, namespace=self.namespace, kind="patch").edit
        reply = conditional_of(edit).reply
        self.say(f"{edit.id}  {edit.statement}")
        self.say("the model is told so" if reply is None else f"the reply is then: {reply}")

    def wrong(self, text: str) -> None:
        """Say what was meant, for the next time; “I mean …” is about the last question."""
        asked = [message.content for message in self.messages if message.role == "user"]
        question = next((text for text in reversed(asked) if not _MEANT.search(text)), None)
        draft = feedback_draft(text, question)
        [id_] = self.memory.add_many([replace(draft, author=self.memory.author)], namespace=self.namespace)
        self.say(f"{id_}  {draft.statement}")

    def clear(self, text: str) -> None:
        """Begin a new conversation; the facts stay."""
        self.messages, self.last = [], None
        self.say("a new conversation begins")

    def help(self, text: str) -> None:
        """Say what there is."""
        arguments = {
            "remember": " FACT",
            "forget": " ID|WORDS",
            "undo": " [N]",
            "why": " [QUESTION]",
            "facts": " [WORDS]",
            "patch": " [IF …, THEN …]",
            "wrong": " [WHEN I ASK …,] I MEAN …",
        }
        for name, function in self.commands.items():
            self.say(f"/{name + arguments.get(name, ''):<18} {function.__doc__}")

    def quit(self, text: str) -> None:
        """Leave."""
        raise Leave

    def say(self, text: str) -> None:
        terminal.notice(text, quiet=self.quiet)

    def _warn(self, changed: list[Edit]) -> None:
        """Deleted facts live on in what was already said: say so, since no gate can take them out of there."""
        spoken = [m.content.casefold() for m in self.messages if m.role == "assistant"]
        targets = [edit.target.casefold() for edit in changed if edit.target]
        if spoken and (not changed or any(target in content for target in targets for content in spoken)):
            self.say("earlier turns may still carry what was so; /clear begins a new conversation")


def history_file() -> Path:
    """Where typed lines are kept: `$XDG_STATE_HOME/memedit/chat_history` (`~/.local/state/…`)."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "memedit" / "chat_history"


def erase_history() -> bool:
    """Erase the typed lines, which may hold facts that are being purged; whether there were any."""
    path = history_file()
    try:
        if not path.is_file():
            return False
        path.write_bytes(b"\0" * path.stat().st_size)
        path.unlink()
    except OSError:
        return False
    return True


def _start_line_editing(commands: list[str]) -> None:
    with suppress(ImportError, OSError):  # no readline (Windows), no history yet, or a folder that is not ours
        import readline

        readline.set_history_length(HISTORY_LINES)
        readline.set_completer_delims("\n")
        readline.set_completer(_completer([f"/{command}" for command in commands]))
        readline.parse_and_bind("tab: complete")
        readline.clear_history()
        readline.read_history_file(history_file())


def _completer(words: list[str]) -> Callable[[str, int], str | None]:
    def complete(text: str, number: int) -> str | None:
        found = [word + " " for word in words if word.startswith(text)] if text.startswith("/") else []
        return found[number] if number < len(found) else None

    return complete


def _end_line_editing() -> None:
    with suppress(ImportError, OSError):
        import readline

        path = history_file()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        readline.write_history_file(path)
