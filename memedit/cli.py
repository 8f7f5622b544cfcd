"""The `memedit` command: each verb reads its arguments, calls one library function and prints what came back.

Data goes to stdout and everything else to stderr (`memedit.terminal`); the library raises and only this file turns an
error into a message and an exit code. Only click is imported at the top: `--help` must be instant, and no verb that
merely reads or writes the journal may load torch, so every other import stands in the function that needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from memedit import terminal
from memedit.errors import InputError, MemEditError, NotFoundError, NotTakenError

if TYPE_CHECKING:
    from memedit.editor import Editor
    from memedit.edits import Bake, Edit, Look, Receipt, Record
    from memedit.memory import EditMemory
    from memedit.settings import Settings

INTERRUPTED = 130  # as a shell reports SIGINT; also: a question answered with no
READER_GONE = 141  # as a shell reports SIGPIPE: whoever read the output has left

EXIT_CODES = """\b
Exit codes:
  0    done
  1    something unexpected (MEMEDIT_DEBUG=1 shows where)
  2    what was given is not usable, or nobody confirmed; nothing was changed
  3    the memory cannot be opened, read or written, or is damaged
  4    an encoder or base model cannot be loaded or asked
  130  interrupted, or a question answered with no
  141  the reader of the output has gone (as in `memedit list | head -1`)"""

Function = TypeVar("Function", bound=Callable[..., Any])


class Session:
    """What was said before or after any verb, and the settings that follow from it."""

    def __init__(self) -> None:
        self.memory: str | None = None
        self.namespace: str | None = None
        self.quiet = False
        self._settings: dict[tuple[tuple[str, Any], ...], Settings] = {}

    def settings(self, **given: Any) -> Settings:
        """Config file < environment < options; `given` are options of one verb."""
        from memedit.settings import load_settings  # pydantic, 0.1 s

        key = tuple(sorted(given.items()))
        if key not in self._settings:
            self._settings[key] = load_settings(memory=self.memory, namespace=self.namespace, **given)
        return self._settings[key]

    @property
    def scope_of(self) -> str:
        """The namespace in force."""
        return self.settings().namespace

    def notice(self, text: str) -> None:
        terminal.notice(text, quiet=self.quiet)

    def progress(self, label: str) -> AbstractContextManager[terminal.Progress | None]:
        return terminal.progress(label, quiet=self.quiet)

    @contextmanager
    def open(self, *, reading: bool = False, create: bool = False, asking: bool = False) -> Iterator[EditMemory]:
        """The memory in force. `reading` promises not to write; with `create` the first write makes one that is not
        there, with a notice.

        With `asking` an empty one, kept nowhere, stands for one that is not there: a mistyped path makes no folder.
        Raises NotFoundError where there is no memory and none is to be made.
        """
        from tempfile import TemporaryDirectory

        from memedit.memory import EditMemory  # SQLAlchemy, 0.3 s

        settings = self.settings()
        born: Callable[[], None] | None = None
        where, is_url = settings.memory, "://" in settings.memory
        with ExitStack() as stack:
            if not is_url and not Path(where).exists():
                known = "`memedit add` makes one, --memory or MEMEDIT_MEMORY names another"
                if asking:
                    self.notice(f"there is no memory at {where}, so nothing is remembered; {known}")
                    where = stack.enter_context(TemporaryDirectory(prefix="memedit-"))
                elif create:
                    born = partial(self.notice, f"no memory at {where} yet: a new one begins")
                else:
                    raise NotFoundError(f"there is no memory at {where}; {known}")
            yield stack.enter_context(
                EditMemory.open(
                    where,
                    encoder=settings.encoder,
                    store=settings.store,
                    author=settings.author,
                    read_only=reading,
                    parser=settings.parser,
                    born=born,
                )
            )

    def catch_up(self, memory: EditMemory) -> None:
        """Bring the index up to the journal, with a bar where that takes long."""
        with self.progress("reading new edits") as report:
            memory.sync(self.scope_of, progress=report)

    def editor(self, memory: EditMemory, **given: Any) -> Editor:
        """An editor over the memory with the model, scope and answerer in force; no model is loaded yet."""
        from memedit.editor import Editor

        settings = self.settings(**given)
        return Editor(
            memory,
            settings.model,
            scope=settings.scope,
            answerer=settings.answerer,
            namespace=settings.namespace,
            false_fire=settings.false_fire,
            calibration=settings.calibration,
        )


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3, where 8.1 is supported
    """A sequence number, or a date or time in ISO 8601; without a zone it is local time."""

    name = "when"

    def __init__(self, *, numbers: bool = False) -> None:
        self.numbers = numbers

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | int:
        if isinstance(value, (int, datetime)):
            return value
        try:
            if self.numbers and value.isascii() and value.isdigit():
                return int(value)
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.astimezone()
        except (ValueError, OverflowError, OSError):
            known = "2026-11-21, 2026-11-21T18:30 or 2026-11-21T18:30:00+01:00"
            self.fail(f"{value!r} is no {'sequence number, ' if self.numbers else ''}date or time such as {known}")


TIME = Moment()
AS_OF = Moment(numbers=True)


class EditId(click.ParamType):  # type: ignore[type-arg]
    """An edit's id or the first six or more characters of one; the shell completes it."""

    name = "id"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        try:
            with (ctx.find_object(Session) or Session()).open(reading=True) as memory:
                edits = memory.list(namespace=(ctx.find_object(Session) or Session()).scope_of, limit=200)
        except Exception:  # a completion that fails must not write into the user's prompt
            return []
        return [CompletionItem(e.id, help=e.statement) for e in edits if e.id.startswith(incomplete)]


ID = EditId()


class Cli(click.Group):
    """The group of all verbs; its `main` is the one place where errors become messages and exit codes."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run and exit. Never shows a traceback unless MEMEDIT_DEBUG is set."""
        name = prog_name or "memedit"
        complete = extra.pop("complete_var", None)
        extra.pop("standalone_mode", None)
        terminal.prepare()
        self._main_shell_completion(extra, name, complete)
        try:
            given = list(sys.argv[1:] if args is None else args)
            if any("\ud800" <= c <= "\udfff" for argument in given for c in argument):
                # Python's stand-ins for bytes that it could not decode; stored, they would be lost letters.
                raise InputError("an argument is not valid text in this locale's encoding; nothing was changed")
            with self.make_context(name, given, **extra) as ctx:
                self.invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            code = 0
        except BaseException as error:
            if os.environ.get("MEMEDIT_DEBUG") and not isinstance(error, (SystemExit, click.exceptions.Exit)):
                import traceback

                traceback.print_exception(error)
            code = _report(error, name)
        sys.exit(code)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs of this file in the order of use, then those of the folder `commands` in theirs."""
        return [*self.commands, *(name for name in self._further() if name not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in (further := self._further()):
            from memedit.commands import commands

            commands.get(further[cmd_name])  # registers itself, as the verbs of this file do
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does it, but a verb of the folder `commands` is named without being imported."""
        from memedit.commands import commands

        lines = commands.summaries()
        further = {name: lines[file] for name, file in self._further().items()}
        own = {name: made.get_short_help_str(80) for name, made in self.commands.items() if name not in further}
        with formatter.section("Commands"):
            formatter.write_dl([*own.items(), *further.items()])

    @staticmethod
    def _further() -> dict[str, str]:
        """Verb -> file of the folder `commands`."""
        from memedit.commands import commands

        return {name.replace("_", "-"): name for name in commands.names()}


def _report(error: BaseException, name: str) -> int:
    """Say on stderr what went wrong; the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        # What is still buffered has nobody to go to; without this Python complains about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    if isinstance(error, (click.Abort, KeyboardInterrupt, EOFError)):
        terminal.notice(f"{name}: stopped")
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        if sys.stderr is not None:
            said = StringIO()
            error.show(said)
            print(terminal.plain(said.getvalue().rstrip("\n"), keep="\n"), file=sys.stderr)
        return InputError.exit_code
    if isinstance(error, MemEditError):
        message, code = str(error), error.exit_code
    elif isinstance(error, OSError) and error.filename:
        message, code = f"{error.filename}: {error.strerror}", 1
    else:
        what = " ".join(str(error).split())[:300]
        message = f"unexpected {type(error).__name__}{': ' if what else ''}{what} (MEMEDIT_DEBUG=1 shows where)"
        code = 1
    if sys.stderr is not None:
        print(f"{name}: {terminal.plain(message, keep=chr(10))}", file=sys.stderr)
    return code


def _silence_libraries() -> None:
    """Keep other packages' bars, hints and warnings off the terminal: they are neither data nor about the user's facts.

    In the command only: what a program that uses the library wants to see is its own business.
    """
    for variable, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
    ):
        os.environ.setdefault(variable, value)
    if not os.environ.get("MEMEDIT_DEBUG") and not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if param.name == "namespace" and value is not None:
        from memedit.edits import checked_namespace

        checked_namespace(value)  # here, since not every verb looks at it
    if value not in (None, False) and param.name is not None:
        setattr(ctx.ensure_object(Session), param.name, value)


def _common() -> list[click.Parameter]:
    """The options that every verb takes, before or after its name."""
    return [
        click.Option(
            ["--memory"],
            expose_value=False,
            callback=_remember,
            metavar="FOLDER|URL",
            help="The memory's folder or database URL [env: MEMEDIT_MEMORY; else facts].",
        ),
        click.Option(
            ["--namespace"],
            expose_value=False,
            callback=_remember,
            metavar="NAME",
            help="Namespace to read and write [env: MEMEDIT_NAMESPACE; else default].",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_remember, help="Print only data."),
    ]


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        print("memedit", version("memedit"))
        ctx.exit()


@click.group(
    "memedit",
    cls=Cli,
    invoke_without_command=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=_common(),
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version and exit."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """An editable memory of facts for any chat model.

    Every question that a fact bears on is answered with it; every other question gets the model's own reply.
    """
    ctx.ensure_object(Session)
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def verb(
    example: str, *, name: str | None = None, json: bool = False
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a verb: it gets the Session first, the common options, `--json` where asked for, an example."""

    def decorate(function: Callable[..., None]) -> click.Command:
        shown = "\n".join(f"  {line}" for line in example.splitlines())
        made = cli.command(name, epilog=f"\b\nExample:\n{shown}")(click.make_pass_decorator(Session)(function))
        if json:
            made.params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object."))
        made.params += _common()
        return made

    return decorate


def _words(words: Sequence[str]) -> str:
    """The argument in its words, or, for a single `-`, what stands on stdin."""
    if tuple(words) != ("-",):
        return " ".join(words)
    if sys.stdin is None:
        raise InputError("`-` reads from standard input, which is closed")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is not text in {error.encoding}: {error.reason}") from error


def _question(words: Sequence[str]) -> str:
    text = _words(words)
    if not text.strip():
        raise InputError('the question is empty; say it behind the verb: memedit ask "Who runs Acme?"')
    return text


def _draft_options(function: Function) -> Function:
    """The options that say outright what would else be parsed from a statement, and where it comes from."""
    options = (
        click.option("--subject", metavar="TEXT", help="What the fact is about."),
        click.option("--relation", metavar="TEXT", help="What it says about the subject."),
        click.option("--target", metavar="TEXT", help="What it says it is."),
        click.option("--prompt", metavar="TEXT", help="The statement up to its target."),
        click.option("--question", metavar="TEXT", help="A question that the target answers."),
        click.option(
            "--alias", "aliases", multiple=True, metavar="TEXT", help="Another name of the subject; may be repeated."
        ),
        click.option("--source", metavar="TEXT", help="Where the fact comes from."),
        click.option("--reason", metavar="TEXT", help="Why it is written down."),
        click.option("--author", metavar="NAME", help="Who says so [env: MEMEDIT_AUTHOR]."),
        click.option("--valid-from", type=TIME, metavar="TIME", help="When it begins to hold, inclusive."),
        click.option("--valid-to", type=TIME, metavar="TIME", help="When it ceases to hold, exclusive."),
        click.option("--kind", metavar="WORD", help="What sort of edit it is; fact unless said."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def strictly(function: Function) -> Function:
    """The option of the verbs that fit edits into weights."""
    told = "Change nothing, and fail, if the model does not say an edit afterwards."
    return click.option("--strict", is_flag=True, help=told)(function)


def _given(**options: Any) -> dict[str, Any]:
    """Options that were given."""
    return {key: value for key, value in options.items() if value not in (None, ())}


def _as_of(function: Function) -> Function:
    return click.option(
        "--as-of",
        type=AS_OF,
        metavar="WHEN",
        help="The memory as it stood after a sequence number, or at a date or time (local, unless a zone is given).",
    )(function)


def _yes(function: Function) -> Function:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def entries_of(package: str, noun: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """For a shell's completion: the names in a registry's folder; no entry is imported."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from memedit.registry import Registry

        return [name for name in Registry(package, noun).names() if name.startswith(incomplete)]

    return complete


def _gate_options(function: Function) -> Function:
    """Options of the verbs that ask a model, or would."""
    options = (
        click.option("--model", metavar="SPEC", help="pocket, hf:NAME, provider:model or scripted:FILE."),
        click.option(
            "--answerer",
            metavar="NAME",
            shell_complete=entries_of("memedit.answerers", "answerer"),
            help="What answers questions that edits bear on [auto].",
        ),
        click.option(
            "--scope",
            metavar="NAME",
            shell_complete=entries_of("memedit.scope", "scope"),
            help="What decides whether an edit bears on a question.",
        ),
        click.option(
            "--false-fire",
            type=float,
            metavar="SHARE",
            help="Share of unrelated questions on which an edit may fire, between 0 and 1.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _when(moment: datetime) -> str:
    return terminal.local(moment).strftime("%Y-%m-%d %H:%M")


def _show_receipt(session: Session, receipt: Receipt, *, new: bool, as_json: bool) -> None:
    edit = receipt.edit
    if as_json:
        terminal.emit(
            {
                "edit": edit,
                "new": new,
                "superseded": receipt.superseded,
                "possible_conflicts": receipt.possible_conflicts,
                "looks": receipt.looks,
            }
        )
    else:
        terminal.line(edit.id, edit.statement)
    if not new:
        session.notice("was there already; nothing was written")
    parts = [f"{name} “{part}”" for name in ("subject", "relation", "target") if (part := getattr(edit, name))]
    if edit.subject and edit.target:
        session.notice(f"parsed: {', '.join(parts)}")
    else:
        known = f" beyond {', '.join(parts)}" if parts else ""
        session.notice(
            f"not parsed{known}: kept whole and found by its text; --subject, --relation and --target say it outright"
        )
    for old in receipt.superseded:
        session.notice(f"supersedes {old.id}  {old.statement}")
    for other in receipt.possible_conflicts:
        session.notice(f"may contradict {other.id}  {other.statement}")
    if receipt.possible_conflicts:
        session.notice("both stay; `memedit remove ID` takes one out, `memedit replace ID` puts another in its place")
    if new and edit.state == "superseded":
        until = f" until {_when(edit.valid_to)}" if edit.valid_to else ""
        session.notice(f"held{until} only: {edit.superseded_by} began later, and holds now")


def _show_edits(edits: Iterable[Edit], *, states: bool) -> int:
    """Print them; how many there were."""
    headings = ("id", "since", "state", "statement") if states else ("id", "since", "statement")
    rows = (
        (e.id, _when(e.created_at), e.state, e.statement) if states else (e.id, _when(e.created_at), e.statement)
        for e in edits
    )
    return terminal.table(headings, rows)


def _show_records(records: Iterable[Record]) -> None:
    rows = (
        (r.seq, _when(r.created_at), r.op + (" (undone)" if r.undone else ""), r.id, _acts_on(r), r.author or "")
        for r in records
    )
    terminal.table(("seq", "when", "what", "id", "statement or targets", "by"), rows, wide=4)


def _acts_on(record: Record) -> str:
    targets = " ".join(record.targets[:20]) + (" …" if len(record.targets) > 20 else "")
    if record.statement and targets:
        return f"{record.statement} (for {targets})"
    return record.statement or targets


@verb('memedit add "The CEO of Acme is Dana Li" --alias "Acme Corp"', json=True)
@click.argument("statement", nargs=-1, required=True)
@_draft_options
@click.option("--method", metavar="NAME", help="Write it into a model's weights too; `memedit methods` lists them.")
@click.option("--model", metavar="SPEC", help="That model: pocket or hf:NAME_OR_PATH [env: MEMEDIT_MODEL].")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the method; repeatable.")
@strictly
def add(session: Session, statement: tuple[str, ...], strict: bool, as_json: bool, **options: Any) -> None:
    """Write a fact; `-` reads it from standard input.

    An older fact is superseded, and stays in the history, where --subject and --relation say what it is about, or where
    it is the same sentence but for its target; else both stay, and you are told.
    """
    from memedit.weights.watched import watched

    text, given = _words(statement), _given(**options) | ({"strict": True} if strict else {})
    if "method" in given:
        from memedit.methods._settings import given as given_settings

        given["model"] = session.settings(model=given.get("model")).model
        given["settings"] = given_settings(given.get("settings", ()))
    with session.open(create=True) as memory:
        before = memory.journal.head()
        nothing = {"edit": None, "new": False, "superseded": (), "possible_conflicts": ()}
        with watched(session.progress, session.notice), told(session, as_json, nothing):
            receipt = memory.add(text, namespace=session.scope_of, **given)
        _show_receipt(session, receipt, new=receipt.edit.seq > before, as_json=as_json)
        if "method" in given:
            show_looks(session, receipt.looks)
            _tell_weights(session, memory, receipt.edit)


@contextmanager
def told(session: Session, as_json: bool, nothing: Mapping[str, Any]) -> Iterator[None]:
    """Inside, a fit that is refused since something did not take is told like one that is not, before it is an error.

    `nothing` are the keys of the JSON object that say that nothing was written.
    """
    try:
        yield
    except NotTakenError as error:
        if as_json:
            terminal.emit({**nothing, "looks": error.looks})
        show_looks(session, error.looks)
        raise


def show_looks(session: Session, looks: Iterable[Look]) -> None:
    """What a model says of each edit that was fitted into its weights, and whether it took."""
    for look in looks:
        odds = f"p = {look.probability_before:.2f} → {look.probability_after:.2f}"
        session.notice(f"{look.id or look.statement}: {'took' if look.took else 'did not take'} ({odds})")
        for asked, before, after in (
            (look.prompt, look.prompt_before, look.prompt_after),
            (look.question, look.question_before, look.question_after),
        ):
            if asked is not None and before is not None and after is not None:
                session.notice(f"  “{asked}”: “{_line(before)}” → “{_line(after)}”")
        if not look.took:
            answered = "; the memory answers it" if look.id else ""
            session.notice(f"  wanted “{look.target}”: {look.reason}{answered}")


def _line(reply: str, most: int = 80) -> str:
    """A reply on one line, its beginning where it is long."""
    text = " ".join(reply.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _tell_weights(session: Session, memory: EditMemory, edit: Edit | None = None) -> None:
    """Where an edit is in weights, and what of the weights was not fitted anew."""
    from memedit import baking

    for one in baking.of_edit(memory, edit) if edit is not None else ():
        if one.in_force:
            lost = f"{edit.id} did not take, but its change is " if edit is not None and edit.id in one.untaken else ""
            session.notice(f"{lost}in the weights of {one.model} by {one.method} ({one.size:,} bytes)")
    for line in baking.advice(memory.bakes(namespace=edit.namespace if edit else session.scope_of)):
        session.notice(line)


@verb('memedit ask "Who runs Acme?"', json=True)
@click.argument("question", nargs=-1, required=True)
@_gate_options
@_as_of
def ask(session: Session, question: tuple[str, ...], as_of: datetime | int | None, as_json: bool, **given: Any) -> None:
    """Ask the model, with the facts that bear on the question.

    `-` reads the question from standard input.
    """
    text = _question(question)
    with session.open(asking=True) as memory:
        editor = session.editor(memory, **given)
        session.catch_up(memory)
        if as_json:
            answer = editor.ask(text, as_of=as_of)
            terminal.emit(
                {
                    "text": answer.text,
                    "in_scope": answer.in_scope,
                    "edits": [_used(hit.edit, hit.probability) for hit in answer.edits],
                    "base_untouched": answer.base_untouched,
                    "model": answer.model,
                    "trace": answer.trace,
                }
            )
            return
        replies = editor.stream(text, as_of=as_of)
        terminal.reply(replies)
        answer = replies.answer
        for hit in answer.edits:
            known = "" if hit.probability is None else f", p = {hit.probability:.2f}"
            session.notice(f"(edit {hit.edit.id}{known}: {hit.edit.statement})")
        if answer.base_untouched:
            session.notice("(no edit bears on this: the model's own reply)")
        for note in replies.standing.notes():
            session.notice(f"({note})")


def _used(edit: Edit, probability: float | None) -> dict[str, object]:
    return {"id": edit.id, "statement": edit.statement, "probability": probability}


@verb('memedit explain "Who runs Acme?"', json=True)
@click.argument("question", nargs=-1, required=True)
@_gate_options
@_as_of
def explain(
    session: Session, question: tuple[str, ...], as_of: datetime | int | None, as_json: bool, **given: Any
) -> None:
    """Show which facts a question would use, who answers, and why.

    No base model is asked, and none is loaded.
    """
    from memedit.edits import Message

    text = _question(question)
    with session.open(asking=True) as memory:
        editor = session.editor(memory, **given)
        session.catch_up(memory)
        messages = [Message("user", text)]
        decision = editor.decide(messages, as_of=as_of, weights=True)
        choices = editor.choices(messages, decision, as_of=as_of)
        for note in editor.standing(as_of, load=False).notes():
            session.notice(note)
    chosen = {hit.edit.id for hit in decision.hits}
    if as_json:
        terminal.emit(
            {
                "query": decision.query,
                "in_scope": decision.in_scope,
                "label": decision.label,
                "scope": decision.scope,
                "threshold": decision.threshold,
                "edits": [_used(hit.edit, hit.probability) for hit in decision.hits],
                "candidates": [
                    _used(hit.edit, hit.probability)
                    | {"score": hit.score, "key": hit.key, "in_scope": hit.edit.id in chosen}
                    for hit in decision.candidates
                ],
                "notes": decision.notes,
                "answerers": [{"name": choice.name, "reason": choice.reason} for choice in choices],
            }
        )
        return
    rows = [
        (
            "yes" if hit.edit.id in chosen else "no",
            "" if hit.probability is None else f"{hit.probability:.3f}",
            f"{hit.score:.3f}",
            hit.edit.id,
            hit.edit.statement,
        )
        for hit in decision.candidates
    ]
    terminal.table(("in scope", "p", "score", "id", "statement"), rows, wide=-1)
    for note in decision.notes:
        session.notice(note)
    verdict = f"in scope ({decision.label})" if decision.in_scope else "out of scope: the model would answer by itself"
    session.notice(f"{verdict}; threshold p >= {decision.threshold:.3f}, scope {decision.scope}")
    for number, choice in enumerate(choices):
        session.notice(
            f"{'asked first' if number == 0 else 'then, where it hands back'}: {choice.name} ({choice.reason})"
        )


STATES = ("current", "superseded", "removed", "undone", "not_yet", "expired", "purged", "all")


@verb("memedit list --subject Acme\nmemedit list --state all --json", name="list", json=True)
@click.option("--subject", metavar="TEXT", help="Only edits about this subject.")
@click.option("--text", metavar="TEXT", help="Only edits whose statement holds this text.")
@click.option("--author", metavar="NAME", help="Only edits by this author.")
@click.option("--state", type=click.Choice(STATES), default="current", help="Only edits in this state [current].")
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help="At most so many, 0 for all [100 on a terminal, else all]."
)
@click.option("--offset", type=click.IntRange(min=0), default=0, metavar="N", help="Leave out the N newest.")
@_as_of
def list_(session: Session, state: str, limit: int | None, offset: int, as_json: bool, **given: Any) -> None:
    """List edits, the newest first."""
    if limit is None:
        limit = 100 if terminal.is_terminal(sys.stdout) and not as_json else 0
    with session.open(reading=True) as memory:
        pages = _pages(memory, limit, offset, namespace=session.scope_of, state=state, **_given(**given))
        if as_json:
            terminal.emit({"edits": list(pages)})
            return
        shown = _show_edits(pages, states=state != "current")
        if not shown:
            session.notice("no such edits")
        elif limit and shown == limit:
            session.notice(f"the newest {limit}; --limit 0 shows all")


def _pages(memory: EditMemory, limit: int, offset: int, **which: Any) -> Iterator[Edit]:
    """Edits in growing pages, so that the first line of a long list comes at once; `limit` 0 is all."""
    page, last = 1000, None
    while True:
        size = min(page, limit) if limit else page
        edits = memory.list(limit=size, offset=offset, **which)
        for edit in edits:
            if last is None or edit.seq < last:  # else seen: newer edits have moved it onto this page
                last = edit.seq
                yield edit
        limit -= size if limit else 0
        if len(edits) < size or (not limit and size < page):
            return
        offset, page = offset + size, page * 4


@verb('memedit search "head of the company" -k 3', json=True)
@click.argument("query", nargs=-1, required=True)
@click.option("-k", type=click.IntRange(min=1), default=5, metavar="N", help="At most so many [5].")
@_as_of
def search(session: Session, query: tuple[str, ...], k: int, as_of: datetime | int | None, as_json: bool) -> None:
    """Find the edits nearest in meaning.

    Unlike `explain` it shows them whether or not they would answer.
    """
    text = _words(query)
    if not text.strip():
        raise InputError("the query is empty; give some words to search for")
    with session.open() as memory:
        session.catch_up(memory)
        hits = memory.search(text, k=k, namespace=session.scope_of, as_of=as_of, patches=True)
    if as_json:
        terminal.emit({"hits": [{"score": hit.score, "key": hit.key, "edit": hit.edit} for hit in hits]})
        return
    terminal.table(("score", "id", "statement"), [(f"{h.score:.3f}", h.edit.id, h.edit.statement) for h in hits])
    if not hits:
        session.notice("the memory is empty")


@verb("memedit show e-0123456789", json=True)
@click.argument("id", type=ID)
@_as_of
def show(session: Session, id: str, as_of: datetime | int | None, as_json: bool) -> None:  # noqa: A002 - the verb's word
    """Show one edit with all that is known about it."""
    from memedit.baking import of_edit

    with session.open(reading=True) as memory:
        edit = memory.get(id, as_of=as_of, namespace=session.scope_of)
        bakes = of_edit(memory, edit, as_of=as_of)
    if as_json:
        terminal.emit({**terminal.jsonable(edit), "weights": bakes} if bakes else edit)
        return
    named = [(field.name.replace("_", " "), terminal.shown(getattr(edit, field.name))) for field in fields(edit)]
    terminal.facts([*named, *(("weights", _of_weights(bake, edit.id)) for bake in bakes)])


def _of_weights(bake: Bake, id_: str) -> str:
    shared = f", with {_count(len(bake.edits) - 1, 'other edit')}" if len(bake.edits) > 1 else ""
    state = "in force" if bake.in_force else "not in force"
    missed = ", did not take" if id_ in bake.untaken else ""
    return f"{bake.method} on {bake.model}{shared}: {state}{missed}{', not refitted' if bake.stale else ''}"


@verb("memedit history --subject Acme\nmemedit history e-0123456789", json=True)
@click.argument("id", type=ID, required=False)
@click.option("--subject", metavar="TEXT", help="What was ever written about this subject.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    metavar="N",
    help="At most so many, without an id or subject [50].",
)
def history(session: Session, id: str | None, subject: str | None, limit: int, as_json: bool) -> None:  # noqa: A002
    """Show the journal, of an edit, of a subject or of all."""
    with session.open(reading=True) as memory:
        if id is None and subject is None:
            records = memory.log(session.scope_of, limit)
        else:
            records = memory.history(id=id, subject=subject, namespace=session.scope_of)
    if as_json:
        terminal.emit({"records": records})
        return
    _show_records(records)
    if not records:
        session.notice("nothing was ever written there")


@verb("memedit undo --last 1\nmemedit undo --by mallory --since 2026-11-01", json=True)
@click.option("--id", "id", type=ID, help="The record to undo, an edit's id or that of a removal or undo.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The N latest records that are not undone.")
@click.option("--by", "author", metavar="AUTHOR", help="All that this author wrote.")
@click.option("--since", type=TIME, metavar="TIME", help="All that was written since then.")
@_yes
def undo(session: Session, yes: bool, as_json: bool, **given: Any) -> None:
    """Undo writes; what they had superseded or removed is back. An undo can be undone."""
    which = _given(**given) | {"namespace": session.scope_of}
    if len(which) == 1:
        raise InputError("say what to undo: --id ID, --last N, --by AUTHOR or --since TIME")
    with session.open() as memory:
        found = memory.preview_undo(**which)
        if not yes:
            for record in found:
                session.notice(f"would undo {record.op} {record.id}  {_acts_on(record)}")
            terminal.confirm(f"Undo {_count(len(found), 'record')}?", yes=False)
            if [r.id for r in memory.preview_undo(**which)] != [r.id for r in found]:
                raise InputError("the memory has changed in the meantime, and nothing was undone; run it again")
        undone = memory.undo(**which)
        made = memory.log(session.scope_of, limit=1)[0].id
        _tell_weights(session, memory)
    if as_json:
        terminal.emit({"undone": undone, "record": made})
        return
    for record in undone:
        terminal.line(record.id, f"undone: {record.op}", _acts_on(record))
    session.notice(f"undone by {made}; `memedit undo --id {made}` brings it back")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@verb("memedit remove e-0123456789", json=True)
@click.argument("ids", type=ID, nargs=-1, required=True, metavar="ID...")
@click.option("--reason", metavar="TEXT", help="Why.")
@click.option("--author", metavar="NAME", help="Who [env: MEMEDIT_AUTHOR].")
@_yes
def remove(session: Session, ids: tuple[str, ...], yes: bool, as_json: bool, **given: Any) -> None:
    """Take edits out of force; they stay in the history.

    What they had superseded stays superseded; `undo` brings it back.
    """
    with session.open() as memory:
        edits = [memory.get(each, namespace=session.scope_of) for each in ids]  # all, before the first is removed
        if not yes:
            for edit in edits:
                session.notice(f"would remove {edit.id}  {edit.statement}")
            terminal.confirm(f"Remove {_count(len(edits), 'edit')}?", yes=False)
        records = [memory.remove(edit.id, namespace=session.scope_of, **_given(**given)) for edit in edits]
        _tell_weights(session, memory)
    if as_json:
        terminal.emit({"removed": edits, "records": records})
        return
    for edit in edits:
        terminal.line(edit.id, "removed", edit.statement)


@verb('memedit replace e-0123456789 "The CEO of Acme is Lee Ray" --reason "new CEO"', json=True)
@click.argument("id", type=ID)
@click.argument("statement", nargs=-1, required=True)
@_draft_options
def replace(session: Session, id: str, statement: tuple[str, ...], as_json: bool, **options: Any) -> None:  # noqa: A002
    """Put a new statement in the place of an edit.

    The old one stays in the history.
    """
    text = _words(statement)
    with session.open() as memory:
        receipt = memory.replace(id, text, namespace=session.scope_of, **_given(**options))
        _show_receipt(session, receipt, new=True, as_json=as_json)


@verb("memedit purge --subject 'Jane Roe'", json=True)
@click.option("--id", "id", type=ID, help="This edit.")
@click.option("--author", metavar="NAME", help="All edits by this author.")
@click.option("--subject", metavar="TEXT", help="All edits about this subject.")
@_yes
def purge(session: Session, yes: bool, as_json: bool, **given: Any) -> None:
    """Erase edits for good: this cannot be undone.

    Text, vectors, index rows and backups made by memedit go; a hash stays, as proof that something was there.
    """
    which = _given(**given)
    if len(which) != 1:
        raise InputError("say whose edits to erase with one of --id ID, --author NAME, --subject TEXT")
    with session.open() as memory, memory.journal.unchecked():  # what is damaged is erased as well
        if "id" in which:
            meant = [memory.get(which["id"], namespace=session.scope_of)]
            which["id"] = meant[0].id
        else:
            meant = memory.list(namespace=session.scope_of, state="all", **which)
        meant = [edit for edit in meant if edit.state != "purged"]
        acts = "author" in which and memory.journal.signed(session.scope_of, which["author"])
        if not meant and not acts:
            raise NotFoundError("there are no such edits, so nothing was erased")
        if not yes:
            for edit in meant[:20]:
                session.notice(f"would erase {edit.id}  {edit.statement}")
            if len(meant) > 20:
                session.notice(f"and {len(meant) - 20:,} more")
            what = "" if "author" not in which else f", and the name {which['author']} from all records,"
            terminal.confirm(f"Erase {_count(len(meant), 'edit')}{what} for good?", yes=False)
        erased = memory.purge(**which, namespace=session.scope_of)
        if "subject" in which:
            still = memory.list(namespace=session.scope_of, state="all", text=which["subject"])
            for edit in still[:20]:
                session.notice(f"still mentions it: {edit.id}  {edit.statement}")
            if still:
                session.notice("these edits are about something else; purge them by --id where they are to go too")
        _tell_weights(session, memory)
    from memedit.chat import erase_history

    if erase_history():
        session.notice("the line history of `memedit chat` was erased as well")
    if as_json:
        terminal.emit({"purged": erased})
    else:
        terminal.line(f"{_count(erased, 'edit')} erased")


@verb(
    "memedit import facts.jsonl\nmemedit import counterfact/edit.json --namespace counterfact", name="import", json=True
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--format", "format", metavar="NAME", help="jsonl, csv or a dataset; found out unless said.")
@click.option("--strict", is_flag=True, help="Write nothing if any line is faulty.")
@click.option("--author", metavar="NAME", help="Who says so, where a line does not tell [env: MEMEDIT_AUTHOR].")
@click.option("--source", metavar="TEXT", help="Where the facts come from, where a line does not tell.")
def import_(session: Session, path: Path, as_json: bool, **given: Any) -> None:
    """Write the facts of a file.

    A faulty line is named and the rest goes in. Run again after an interruption, it goes on where it stopped.
    """
    with session.open(create=True) as memory, session.progress(f"importing {path.name}") as report:
        found = memory.import_file(path, namespace=session.scope_of, progress=report, **_given(**given))
    if as_json:
        faults = [{"line": line, "reason": reason} for line, reason in found.faults]
        conflicts = [{"edit": edit, "may_contradict": others} for edit, others in found.possible_conflicts]
        terminal.emit(
            {"added": found.added, "skipped": found.skipped, "faults": faults, "possible_conflicts": conflicts}
        )
    else:
        terminal.line(f"{found.added:,} added, {found.skipped:,} there already, {len(found.faults):,} faulty")
    for number, reason in found.faults[:20]:
        session.notice(f"{path}:{number}: {reason}")
    if len(found.faults) > 20:
        session.notice(f"and {len(found.faults) - 20:,} more; --json names all")
    for edit, others in found.possible_conflicts[:20]:
        session.notice(f"{edit.id} ({edit.statement}) may contradict {', '.join(other.id for other in others)}")
    if len(found.possible_conflicts) > 20:
        session.notice(f"and {len(found.possible_conflicts) - 20:,} more such; `memedit doctor` tells of them too")
    if found.faults and given["strict"]:
        raise InputError(f"{_count(len(found.faults), 'line')} of {path} faulty, so nothing was written")
    if found.faults and not found.added and not found.skipped:
        raise InputError(f"no line of {path} could be used")


@verb("memedit export facts.jsonl\nmemedit export - --format csv | head")
@click.argument("path", metavar="FILE", default="-")
@click.option("--format", "format", type=click.Choice(("jsonl", "csv")), help="jsonl, or csv where the name ends so.")
@click.option("--all", "everything", is_flag=True, help="Also superseded and removed edits.")
@_yes
def export(session: Session, path: str, format: Literal["jsonl", "csv"] | None, everything: bool, yes: bool) -> None:  # noqa: A002
    """Write the edits to a file, or to standard output."""
    chosen: Literal["jsonl", "csv"] = format or ("csv" if path.lower().endswith(".csv") else "jsonl")
    state: Literal["all", "current"] = "all" if everything else "current"
    with session.open(reading=True) as memory:
        if path == "-":
            memory.export_file(sys.stdout, format=chosen, namespace=session.scope_of, state=state)
            return
        if Path(path).exists():
            terminal.confirm(f"{path} exists. Write over it?", yes=yes)
        memory.export_file(path, format=chosen, namespace=session.scope_of, state=state)
    session.notice(f"written to {path}")


@verb('memedit chat --model "openai:gpt-4o-mini"')
@_gate_options
def chat(session: Session, **given: Any) -> None:
    """Talk with the model and edit its facts from within.

    Facts are edited by /remember, /forget and /undo, looked at by /facts and /why; /help names all.
    """
    from memedit.chat import Chat

    with session.open(create=True) as memory:
        editor = session.editor(memory, **given)
        session.catch_up(memory)
        code = Chat(memory, editor, namespace=session.scope_of, quiet=session.quiet).run()
    if code:
        raise click.exceptions.Exit(code)


@verb("memedit stats", json=True)
@click.option("--all-namespaces", is_flag=True, help="Over all namespaces.")
def stats(session: Session, all_namespaces: bool, as_json: bool) -> None:
    """Count edits and bytes."""
    with session.open(reading=True) as memory:
        found = memory.stats(None if all_namespaces else session.scope_of)
    if as_json:
        terminal.emit(found)
    else:
        terminal.facts(terminal.flat(found))


@verb("memedit doctor --repair", json=True)
@click.option("--repair", is_flag=True, help="Put right what can be put right.")
@click.option("--all-namespaces", is_flag=True, help="Look at all namespaces.")
def doctor(session: Session, repair: bool, all_namespaces: bool, as_json: bool) -> None:
    """Look for damage, stale indexes and contradicting facts."""
    with session.open(reading=not repair) as memory:
        findings = memory.doctor(None if all_namespaces else session.scope_of, repair=repair)
    bad = [finding for finding in findings if finding.level == "error"]
    if as_json:
        terminal.emit({"healthy": not bad, "findings": findings})
    else:
        terminal.table(("level", "what", "advice"), [(f.level, f.what, f.advice) for f in findings], wide=1)
        if not findings:
            session.notice("nothing to complain about")
    if bad:
        raise click.exceptions.Exit(3)


@verb("memedit rebuild")
def rebuild(session: Session) -> None:
    """Make the search index again from the journal."""
    with session.open() as memory, session.progress("rebuilding the index") as report:
        memory.rebuild(session.scope_of, progress=report)
    session.notice("the index is rebuilt")


@verb("memedit backup facts-2026-11-21.db")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@_yes
def backup(session: Session, path: Path, yes: bool) -> None:
    """Copy the journal to a file, while others go on writing."""
    with session.open() as memory:
        if path.exists():
            terminal.confirm(f"{path} exists. Write over it?", yes=yes)
        memory.backup(path)
    session.notice(f"written to {path}")


@verb("memedit settings --json", json=True)
def settings(session: Session, as_json: bool) -> None:
    """Show the settings in force: config file < MEMEDIT_… < options."""
    import re

    from memedit.settings import config_path

    found = session.settings()
    values = {name: getattr(found, name) for name in type(found).model_fields}
    values["memory"] = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", found.memory)
    if as_json:
        terminal.emit({"config_file": config_path(), "settings": values})
        return
    terminal.table(("name", "value"), [(name, "" if v is None else v) for name, v in values.items()])
    session.notice(f"config file: {config_path() or 'none (memedit.toml here, or ~/.config/memedit/config.toml)'}")


SHELLS = {
    "bash": 'eval "$(memedit completion bash)"  in ~/.bashrc',
    "zsh": 'eval "$(memedit completion zsh)"  in ~/.zshrc',
    "fish": "memedit completion fish > ~/.config/fish/completions/memedit.fish",
}


@verb('eval "$(memedit completion bash)"')
@click.argument("shell", type=click.Choice(sorted(SHELLS)))
def completion(session: Session, shell: str) -> None:
    """Print what makes a shell complete verbs, options and ids."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    print(found(cli, {}, "memedit", "_MEMEDIT_COMPLETE").source())
    session.notice(f"to keep it: {SHELLS[shell]}")


@verb(
    "memedit calibrate --data questions.jsonl\nmemedit calibrate --data questions.jsonl --alone --false-fire 0.01",
    json=True,
)
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Questions and their edits, as JSONL.",
)
@click.option("--alone", is_flag=True, help="Judge with the file's own statements in place of the memory's edits.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("memedit-calibration.json"),
    metavar="FILE",
    help="File to write [memedit-calibration.json].",
)
@click.option("--false-fire", type=float, metavar="SHARE", help="The rate to measure at [env: MEMEDIT_FALSE_FIRE].")
@_yes
def calibrate(
    session: Session, data: Path, alone: bool, out: Path, false_fire: float | None, yes: bool, as_json: bool
) -> None:
    """Set the gate's thresholds by questions of your own.

    Each line of FILE is {"question": text or messages, "edit": statement or id, or null where no edit bears on it}.
    """
    from tempfile import TemporaryDirectory

    from memedit.edits import DEFAULT_NAMESPACE
    from memedit.training import calibration as own  # numpy

    settings = session.settings(**_given(false_fire=false_fire))
    pairs = own.read_pairs(data)
    if out.exists():
        terminal.confirm(f"{out} exists. Write over it?", yes=yes)
    with ExitStack() as stack:
        if alone:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            memory, namespace = stack.enter_context(own.alone(pairs, folder, settings.encoder)), DEFAULT_NAMESPACE
        else:
            memory, namespace = stack.enter_context(session.open()), settings.namespace
            session.catch_up(memory)
        report = own.calibrate_pairs(
            pairs,
            memory,
            own.verifier_for(memory.encoder),
            false_fire=settings.false_fire,
            namespace=namespace,
            known=own.known(settings.calibration, memory.encoder),
        )
    report.figures.write(out)
    facts = {
        "file": str(out),
        "false_fire": report.false_fire,
        "threshold": report.threshold,
        "edits": report.edits,
        "in_scope": report.positives,
        "out_of_scope": report.negatives,
        "recall": report.recall,
        "false_fires": report.false_fires,
        "promised": report.promised,
    }
    if as_json:
        terminal.emit({**facts, "notes": report.notes})
    else:
        terminal.facts((name.replace("_", " "), terminal.shown(value)) for name, value in facts.items())
    for note in report.notes:
        session.notice(note)
    session.notice("recall and false fires: on one half of the questions, with figures made from the other half")
    session.notice(f'to use it: calibration = "{out.resolve()}" in the config file, or MEMEDIT_CALIBRATION')


class Benchmarks(click.Group):
    """The verbs of `memedit bench`, read from the registry: none is imported before it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from memedit.bench import benchmarks

        return benchmarks.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from memedit.bench import benchmarks

        try:
            command = benchmarks.get(cmd_name)
        except NotFoundError:
            return None
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from memedit.bench import benchmarks

        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, line in benchmarks.summaries().items()])


@cli.group(cls=Benchmarks, epilog="\b\nExample:\n  memedit bench startup --json")
def bench() -> None:
    """Measure memedit on this machine."""


def main() -> None:
    """The entry point of the `memedit` command."""
    _silence_libraries()
    cli()
