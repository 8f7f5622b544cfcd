"""CounterFact: counterfactual completions, in the nested form of its authors and in the flat form of EasyEdit.

The nested form has two paraphrases, ten neighbours and ten beginnings for free generation per edit, the flat one a
paraphrase and a neighbour. Many paraphrases begin with an unrelated sentence, and some ask for another relation than
the edit's; that is how the set is scored everywhere, so they are kept, and `memedit datasets validate` counts the
first. The nested `attribute_prompts` (other subjects that have the new target by right) belong to no published score
and are left out. "distracting" puts the edit before each neighbour (Hoelscher-Obermaier et al. 2023, section 3).
"""

from __future__ import annotations

from memedit.datasets._form import File, Record, Source, completion, given, made, texts
from memedit.edits import Case, Draft, Probe

SOURCE = Source(
    paper="Meng et al. 2022, Locating and Editing Factual Associations in GPT, arXiv:2202.05262",
    page="https://rome.baulab.info",
    licence="MIT",
    files={
        "nested": File(
            "https://rome.baulab.info/data/dsets/counterfact.json",
            "d017056125178a13728594e66a801357a8db9ed7973a7425554bb4271de9fc6f",
        ),
        "multi": File("https://memit.baulab.info/data/dsets/multi_counterfact.json"),
        "edit": File("https://drive.google.com/file/d/1WRo2SqqgNtZF11Vq0sF5nL_-bHi18Wi4 (counterfact-edit.json)"),
        "val": File("https://drive.google.com/file/d/1WRo2SqqgNtZF11Vq0sF5nL_-bHi18Wi4 (counterfact-val.json)"),
        "train": File("https://drive.google.com/file/d/1WRo2SqqgNtZF11Vq0sF5nL_-bHi18Wi4 (counterfact-train.json)"),
    },
)

FILES = {
    "nested": ("counterfact/counterfact.json", "counterfact.json"),
    "multi": ("counterfact/multi_counterfact.json", "multi_counterfact.json"),
    "edit": ("counterfact/edit.json", "counterfact/counterfact-edit.json", "counterfact-edit.json"),
    "val": ("counterfact/val.json", "counterfact/counterfact-val.json", "counterfact-val.json"),
    "train": ("counterfact/train.json", "counterfact/counterfact-train.json", "counterfact-train.json"),
}


def matches(row: Record) -> bool:
    rewrite = row.get("requested_rewrite")
    if isinstance(rewrite, dict):
        return {"prompt", "subject", "target_new"} <= rewrite.keys()
    return {"prompt", "subject", "target_new", "locality_prompt"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    if "requested_rewrite" in row:
        rewrite = row["requested_rewrite"]
        subject = rewrite["subject"]
        prompt, target = rewrite["prompt"].replace("{}", subject, 1), rewrite["target_new"]["str"]
    else:
        subject, prompt, target = row["subject"], row["prompt"], row["target_new"]
    return [completion(subject, prompt, target)]


def case(row: Record, number: int) -> Case:
    """The record as a case; `number` is its place in the file, its id where it has no `case_id`."""
    edits = drafts(row)
    target = texts(edits[0].target)
    if "requested_rewrite" in row:
        old = near = texts((row["requested_rewrite"].get("target_true") or {}).get("str"))
        paraphrases, neighbours = texts(row.get("paraphrase_prompts")), texts(row.get("neighborhood_prompts"))
    else:
        old, near = texts(row.get("ground_truth")), texts(row.get("locality_ground_truth"))
        paraphrases, neighbours = texts(row.get("rephrase_prompt")), texts(row.get("locality_prompt"))
    questions = {
        "paraphrase": [Probe(text, target, old) for text in paraphrases],
        "neighbour": [Probe(text, near, near) for text in neighbours],
        "distracting": [Probe(f"{edits[0].statement}. {text}", near, near) for text in neighbours],
        "attribute": [Probe(text, target) for text in texts(row.get("generation_prompts"))],
    }
    id_ = given(row, "case_id")
    return made(number if id_ is None else id_, edits, questions, old)
