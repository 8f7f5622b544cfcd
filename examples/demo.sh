#!/bin/sh
# The main job from the outside: add facts, ask before and after, see why, undo. Works in a folder of its own.
set -eu

MEMEDIT_MEMORY=$(mktemp -d)/facts
export MEMEDIT_MEMORY
trap 'rm -rf "$(dirname "$MEMEDIT_MEMORY")"' EXIT

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
run() {
    printf '\033[2m$ memedit'
    for word; do case $word in *' '*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac; done
    printf '\033[0m\n'
    memedit "$@"
}

say "Before: what the base model says by itself"
run ask "What is Danielle Darrieux's native language?"

say "Two facts go in; each has an id, a history and an undo"
run add "The mother tongue of Danielle Darrieux is English" --source "a what-if"
run add "The CEO of Acme is Dana Li" --alias "Acme Corp" --source "press release"

say "After: asked in other words, by another name"
run ask "What is Danielle Darrieux's native language?"
run ask "Who is the CEO of Acme Corp?"

say "Everything else is the base model's own reply"
run ask "What is the mother tongue of Michel Rocard?"

say "Why did the edit apply?"
run explain "What is Danielle Darrieux's native language?"

say "A newer fact supersedes the older one, which stays in the history"
run add "The CEO of Acme is Lee Ray"
run ask "Who is the CEO of Acme?"
run history --subject Acme

say "Undo the last one: the older fact is back"
run undo --last 1 --yes
run ask "Who is the CEO of Acme?"
run list
