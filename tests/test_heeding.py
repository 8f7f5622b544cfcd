"""Heeding: what stands in front of a question counts for more where the model wavers, and nothing changes elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from memedit.answerers.ike import Ike
from memedit.edits import Decision, Hit, Message
from memedit.errors import InputError
from memedit.memory import EditMemory
from memedit.models import BaseModel
from memedit.models._heeding import PLAUSIBLE, WAVERS, Heeding
from memedit.models.pocket import Pocket
from memedit.models.scripted import Scripted

END = 9


class Reads:
    """Scores by the number of tokens that were read; keeps what it was given."""

    def __init__(self, *scores: Sequence[float]) -> None:
        self.scores, self.given = [torch.tensor([each]) for each in scores], list[list[int]]()

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        self.given.append(list(tokens))
        return self.scores[len(self.given) - 1]


def logs(**shares: float) -> torch.Tensor:
    """Ten tokens; t3=0.4 gives the token 3 that probability, the rest is spread evenly."""
    rest = (1 - sum(shares.values())) / (10 - len(shares))
    return torch.tensor([[math.log(shares.get(f"t{at}", rest)) for at in range(10)]])


def heeding(reads: Reads, *, emphasis: float = 0.5, prompt: Sequence[int] = (1, 2, 3, 4, 5)) -> Heeding:
    return Heeding(prompt, [4, 5], reads, emphasis=emphasis, ends=[END])


def test_a_sure_model_is_not_read_twice_and_keeps_its_word() -> None:
    reads = Reads()
    assert int(heeding(reads)(logs(t6=0.95)).argmax()) == 6
    assert not reads.given


def test_what_the_question_alone_makes_likely_is_held_against_it() -> None:
    given, alone = logs(t6=0.5, t7=0.4), logs(t6=0.8, t7=0.02)
    reads = Reads(alone[0].tolist(), alone[0].tolist())
    made = heeding(reads)
    found = made(given)
    expected = 1.5 * given - 0.5 * alone
    assert found[0, 6] == pytest.approx(float(expected[0, 6]), abs=1e-5)
    assert found[0, 7] == pytest.approx(float(expected[0, 7]), abs=1e-5)
    assert int(found.argmax()) == 7
    implausible = given[0] < math.log(PLAUSIBLE * 0.5)
    assert implausible.any()
    assert torch.isinf(found[0][implausible]).all()
    # The question is read once, then only what was drawn meanwhile.
    for token in (7, 8):
        made.drew(token)
    made(given)
    assert reads.given == [[4, 5], [7, 8]]
    assert int(heeding(Reads(), emphasis=0.0)(given).argmax()) == 6


def test_a_model_that_knows_no_token_points_to_the_facts() -> None:
    lost = torch.full((1, 10), math.log(0.1))
    assert float(lost.exp().max()) < WAVERS
    made = heeding(Reads(lost[0].tolist()))
    chosen = torch.isfinite(made(lost))[0].nonzero().flatten().tolist()
    assert chosen == [1, 2, 3, END]  # what the facts brought, not what the question says
    made.drew(2)
    assert torch.isfinite(made(lost))[0].nonzero().flatten().tolist() == [3, END]
    made.drew(8)  # no longer a name of the prompt: the model is left alone
    assert torch.isfinite(made(lost)).all()


@pytest.fixture(scope="module")
def pocket() -> Pocket:
    return Pocket()


FACT = Message("system", "New fact: The cause of death of Mira Lo is ovarian cancer.")
ASKED = [Message("user", "What caused the death of Mira Lo?")]


def test_the_pocket_model_writes_out_a_name_that_it_cannot_spell(pocket: Pocket) -> None:
    assert "".join(pocket.stream([FACT, *ASKED])) != "ovarian cancer"
    assert "".join(pocket.stream([FACT, *ASKED], against=ASKED)) == "ovarian cancer"


@pytest.mark.parametrize("emphasis", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(
    "question", ["What caused the death of Mira Lo?", "Where was Mira Lo born?", "Who wrote Hamlet?", "Mira Lo died of"]
)
def test_with_a_cache_as_with_none(pocket: Pocket, emphasis: float, question: str) -> None:
    asked = [Message("user", question)]
    prompts = [pocket._prompt(messages, 64) for messages in ([FACT, *asked], asked)]

    class Afresh:
        def __init__(self) -> None:
            self.whole: list[int] = []

        def read(self, tokens: Sequence[int]) -> torch.Tensor:
            self.whole += tokens
            with torch.inference_mode():
                scores: torch.Tensor = pocket._model(input_ids=torch.tensor([self.whole])).logits[:, -1].float()
            return scores

    made = Heeding(prompts[0], prompts[1], Afresh(), emphasis=emphasis, ends=pocket.ends)
    drawn: list[int] = []
    while len(drawn) < 24 and "\n" not in pocket.text_of(drawn):
        with torch.inference_mode():
            scores = pocket._model(input_ids=torch.tensor([[*prompts[0], *drawn]])).logits[:, -1].float()
        token = int(made(scores).argmax())
        if token in pocket.ends:
            break
        drawn.append(token)
        made.drew(token)
    wanted = pocket.text_of(drawn).split("\n")[0].strip()
    said = "".join(pocket.stream([FACT, *asked], against=asked, emphasis=emphasis, max_new_tokens=24))
    assert said.strip() == wanted


def test_a_number_below_zero_is_refused(pocket: Pocket) -> None:
    with pytest.raises(InputError, match="emphasis must be 0"):
        pocket.stream(ASKED, against=ASKED, emphasis=-1)


def test_ike_emphasises_where_the_model_says_so_or_is_told(tmp_path: Path, pocket: Pocket) -> None:
    memory = EditMemory.open(tmp_path / "facts")
    edit = memory.add("The cause of death of Mira Lo is ovarian cancer").edit
    decision = Decision(query=ASKED[0].content, hits=(Hit(edit=edit, score=1.0),))

    def said(answerer: Ike, model: BaseModel) -> str:
        return "".join(answerer.stream(ASKED, decision, model, memory, []))

    assert said(Ike(), pocket) == "ovarian cancer"
    assert said(Ike(emphasis=0.0), pocket) != "ovarian cancer"
    scripted = Scripted({"*": "?"}, style="completion")
    assert said(Ike(), scripted) == "?"
    assert not scripted.calls[-1].parameters
    with pytest.raises(InputError, match="does not show its probabilities"):
        said(Ike(emphasis=0.5), scripted)
