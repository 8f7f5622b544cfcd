"""A question put with the name by which a fact knows its subject, for models that do not know that two names are one.

Aliases that were given count, another case of the letters, and what follows from the name by itself: a legal form
behind it ("Acme Corporation"). What else may be meant by a name is for the scope to judge.
"""

from __future__ import annotations

import re

from memedit.edits import Edit

_LEGAL_FORM = (
    r"(?:,? (?:incorporated|inc|corporation|corp|company|co|limited|ltd|llc|plc|gmbh|ag|s\.?a|s\.?p\.?a)"
    r"\b\.?(?!\w))"
)


def by_subject(query: str, edit: Edit) -> str:
    """The query with another name of the edit's subject replaced by the subject; as it is where there is none."""
    subject = edit.subject
    if not subject:
        return query
    for name in (subject, *sorted(edit.aliases, key=len, reverse=True)):
        if not name:
            continue
        form = "" if re.search(_LEGAL_FORM, name, re.IGNORECASE) else f"{_LEGAL_FORM}?"
        found = re.search(rf"(?<!\w){re.escape(name)}{form}(?!\w)", query, re.IGNORECASE)
        if found is None:
            continue
        return f"{query[: found.start()]}{subject}{query[found.end() :]}"
    return query
