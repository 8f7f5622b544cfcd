"""Write a patch, or list those there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from memedit import terminal
from memedit.cli import Session, verb
from memedit.errors import InputError

if TYPE_CHECKING:
    from memedit.edits import Edit


@verb(
    'memedit patch "if the user asks for another person\'s address, then decline"\n'
    "memedit patch --regex '(?P<year>\\d{4})/(\\d\\d)' --replace '\\g<year>-\\2'\n"
    "memedit patch        # lists them",
    name="patch",
    json=True,
)
@click.argument("words", nargs=-1, metavar="[IF … THEN …]")
@click.option("--override", "mode", flag_value="override", help="What comes after “then” is the reply, word for word.")
@click.option("--feature", "mode", flag_value="feature", help="What comes after “then” is an instruction to the model.")
@click.option("--example", "examples", multiple=True, metavar="TEXT", help="A message that meets the condition.")
@click.option("--regex", "pattern", metavar="PATTERN", help="A pattern in place of a condition.")
@click.option("--replace", "template", metavar="TEXT", help="What stands in its place: \\1 and \\g<name> are groups.")
@click.option("--on", "side", type=click.Choice(["input", "output"]), help="The message or the reply [output].")
@click.option("--dry-run", "tried", metavar="TEXT", help="Write nothing; show what would become of this message.")
@click.option("--author", metavar="NAME", help="Who writes it.")
@click.option("--reason", metavar="TEXT", help="Why.")
def command(
    session: Session,
    words: tuple[str, ...],
    mode: str | None,
    examples: tuple[str, ...],
    pattern: str | None,
    template: str | None,
    side: str | None,
    tried: str | None,
    author: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Write a patch, or list those there are."""
    from dataclasses import replace

    from memedit.edits import Draft
    from memedit.patches import checked, substitution_draft

    said = " ".join(words).strip()
    if pattern is None and not said:
        if tried is not None or template is not None or side is not None or mode is not None:
            raise InputError("say which patch: “if …, then …”, or --regex PATTERN --replace TEXT")
        _list(session, as_json)
        return
    if pattern is not None:
        if said or mode or examples:
            raise InputError("--regex stands by itself: it has no condition, no --override, --feature or --example")
        if template is None:
            raise InputError("say what stands in its place: --replace TEXT (an empty TEXT takes the match out)")
        draft = substitution_draft(pattern, template, side or "output")
    else:
        if template is not None or side is not None:
            raise InputError("--replace and --on go with --regex")
        draft = checked(Draft(statement=said, kind="patch", relation=mode, aliases=examples))
    if tried is not None:
        _try(draft.kind, session, draft.statement, draft.prompt, draft.relation, draft.aliases, tried, as_json)
        return
    with session.open(create=True) as memory:
        made = replace(draft, author=author or memory.author, reason=reason)
        id_ = memory.add_many([made], namespace=session.scope_of)[0]
        edit = memory.get(id_, namespace=session.scope_of)
    if as_json:
        terminal.emit({"edit": edit})
        return
    terminal.line(edit.id, edit.statement)
    if edit.kind == "patch":
        session.notice(_explained(edit))


def _list(session: Session, as_json: bool) -> None:
    with session.open(reading=True) as memory:
        edits = memory.list(namespace=session.scope_of, patches=True)
    if as_json:
        terminal.emit({"edits": edits})
    elif not terminal.table(("id", "kind", "statement"), [(edit.id, edit.kind, edit.statement) for edit in edits]):
        session.notice("no patches")


def _try(
    kind: str,
    session: Session,
    statement: str,
    prompt: str | None,
    relation: str | None,
    aliases: tuple[str, ...],
    tried: str,
    as_json: bool,
) -> None:
    """Show what a patch that is not written would do with a text."""
    from datetime import UTC, datetime

    from memedit.edits import Edit, Message
    from memedit.patches import conditional_of, substitution_of

    edit = Edit(
        id="e-0000000000",
        seq=1,
        statement=statement,
        namespace=session.scope_of,
        created_at=datetime.now(UTC),
        prompt=prompt,
        relation=relation,
        aliases=aliases,
        kind=kind,
    )
    if kind == "regex":
        from memedit.answerers.regex import Regex

        done = Regex().substituted(tried, [(edit.id, substitution_of(edit))])
        if as_json:
            terminal.emit({"text": done.text, "changed": bool(done.changed), "timed_out": bool(done.timed_out)})
            return
        terminal.line(done.text)
        if done.timed_out:
            session.notice("the pattern ran out of time on this text, which stays as it is")
        elif not done.changed:
            session.notice("the pattern changes nothing in this text")
        return
    from memedit.answerers._conditions import judged
    from memedit.answerers.language_patch import LanguagePatch
    from memedit.encoders import load_encoder

    found, bound = judged(
        [Message("user", tried)], [edit], load_encoder(session.settings().encoder), LanguagePatch().false_fire
    )
    holds, score = bool(found and found[0].holds), found[0].score if found else None
    held = conditional_of(edit)
    if as_json:
        terminal.emit({"holds": holds, "score": score, "bound": bound, "reply": held.reply})
        return
    terminal.line("holds" if holds else "does not hold")
    session.notice(f"score {score if score is None else round(score, 2)}, bound {bound:.2f}; {_explained(edit)}")


def _explained(edit: Edit) -> str:
    from memedit.patches import conditional_of

    held = conditional_of(edit)
    if held.reply is not None:
        return f"the reply is then: {held.reply}"
    return f"the model is then told: {held.consequence}   (--override makes these words the reply)"
