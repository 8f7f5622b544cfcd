"""HalluEditBench: facts that a chat model gets wrong, asked in many ways: yes and no, backwards, over up to six hops.

One record per fact, as CSV per model and topic or as one JSON list. Locality is another attribute of the subject, for
which the data has no answer. Its multiple choice and multi-turn questions are not read. The data's hops were written by
a language model: some give the new fact away, and their answers are taken as they are.
"""

from __future__ import annotations

from memedit.datasets._form import File, Record, Source, completion, made, texts
from memedit.edits import Case, Draft, Probe

_MODELS = ("llama_2_7b_chat_hf", "meta_llama_3_8b_instruct", "mistral_7b_instruct_v0.3")
_HOME = "https://github.com/llm-editing/HalluEditBench/tree/main/data/questions/hallucination_final"
_INSIDE = "questions/hallucination_final"

SOURCE = Source(
    paper="Huang et al. 2024, Can Knowledge Editing Really Correct Hallucinations?, arXiv:2410.16251",
    page="https://github.com/llm-editing/HalluEditBench",
    licence="MIT",
    files={model: File(f"{_HOME}/{model}") for model in _MODELS},
)

FILES = {
    "questions": ("hallueditbench/questions.json", "halluedit_bench/questions.json"),
    **{
        model: (f"hallueditbench/{_INSIDE}/{model}/*.csv", f"HalluEditBench/data/{_INSIDE}/{model}/*.csv")
        for model in _MODELS
    },
}


def matches(row: Record) -> bool:
    return {"subject", "object", "question", "paraphrased_question", "locality_question"} <= row.keys()


def drafts(row: Record) -> list[Draft]:
    return [completion(row["subject"], row["question"], row["object"])]


def case(row: Record, number: int) -> Case:
    """The record as a case; its id is `number`, its place in the file."""
    edits = drafts(row)
    asked = {
        "paraphrase": ("paraphrased_question", edits[0].target),
        "yes": ("yes_question", "Yes"),
        "no": ("no_question", "No"),
        "reversed": ("reversed_relation_question", edits[0].subject),
        "same_subject": ("locality_question", None),
    }
    questions = {
        kind: [Probe(text, texts(answer)) for text in texts(row.get(name))] for kind, (name, answer) in asked.items()
    }
    questions["one_hop"] = [
        Probe(text, texts(row.get(f"answer_{hops}hop")))
        for hops in range(2, 7)
        for text in texts(row.get(f"question_{hops}hop"))
    ]
    return made(number, edits, questions)
