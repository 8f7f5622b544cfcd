"""A folder of a model is data: no code in it runs unasked, and no pickle is read at all."""

from __future__ import annotations

import builtins
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from click.testing import CliRunner

from memedit.cli import cli
from memedit.encoders import load_encoder
from memedit.errors import InputError, ModelError
from memedit.memory import EditMemory
from memedit.models import load_model
from memedit.models.hugging_face import HuggingFace
from memedit.settings import load_settings
from memedit.weights.language_model import load

CODE = """
from pathlib import Path
Path({marker!r}).write_text("it ran")
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
class OwnConfig(GPT2Config):
    model_type = "own"
class OwnModel(GPT2LMHeadModel):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MEMEDIT_TRUST_REMOTE_CODE", raising=False)
    monkeypatch.setattr(builtins, "input", None)  # nobody is asked


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("sound")
    tokenizer = tiny.tokenizer("causal")
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "model"))


def rewritten(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def own_code(folder: Path, part: str) -> Path:
    """The folder with code for its configuration and model, or its tokenizer; -> the file that the code writes."""
    marker = folder.parent / "marker"
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    if part == "model":
        auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
        rewritten(folder / "config.json", model_type="own", architectures=["OwnModel"], auto_map=auto_map)
    else:
        auto_map = {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]}
        rewritten(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=auto_map)
    return marker


def test_a_sound_folder_is_loaded(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(pickle.dumps({}))  # as training leaves it; it is not read
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))  # beside safetensors: it is not read either
    assert load_model(f"hf:{folder}").name == f"hf:{folder}"


@pytest.mark.parametrize("way", [load_model, load])
def test_code_of_a_folder_does_not_run(
    folder: Path, way: Callable[[str], object], capsys: pytest.CaptureFixture[str]
) -> None:
    marker = own_code(folder, "model")
    with pytest.raises(ModelError, match=r"model brings code of its own.*MEMEDIT_TRUST_REMOTE_CODE=true"):
        way(f"hf:{folder}")
    assert not marker.exists()
    assert capsys.readouterr().out == ""


def test_a_question_asks_nobody_and_runs_nothing(folder: Path, tmp_path: Path) -> None:
    marker = own_code(folder, "model")
    line = ["--memory", str(tmp_path / "facts"), "ask", "Who?", "--model", f"hf:{folder}"]
    done = CliRunner().invoke(cli, line, input="y\n")
    assert (done.exit_code, done.stdout) == (4, "")
    assert str(folder) in done.stderr
    assert not marker.exists()


def test_code_runs_where_the_setting_permits_it(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    marker = own_code(folder, "model")
    monkeypatch.setenv("MEMEDIT_TRUST_REMOTE_CODE", "true")
    with pytest.raises(ModelError, match="code of its own"):
        HuggingFace(str(folder), trust_remote_code=False)
    assert not marker.exists()
    load_model(f"hf:{folder}")
    assert marker.exists()


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_what_the_library_knows_by_itself_is_loaded_without_the_code(folder: Path, part: str) -> None:
    marker = own_code(folder, part)
    rewritten(folder / "config.json", model_type="gpt2")
    load_model(f"hf:{folder}")
    assert not marker.exists()


def test_a_file_that_comes_with_a_folder_permits_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("memedit.toml").write_text("trust_remote_code = true\n")
    with pytest.raises(InputError, match="not heeded"):
        load_settings()
    own = tmp_path / "config" / "memedit" / "config.toml"
    own.parent.mkdir(parents=True)
    Path("memedit.toml").rename(own)
    assert load_settings().trust_remote_code


def without_safetensors(folder: Path, name: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"weight": 1}))


def index(folder: Path, name: str) -> None:
    without_safetensors(folder, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))


def explicit(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps({"weight": 1}))
    rewritten(folder / "config.json", transformers_weights=name)


def disguised(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps({"weight": 1}))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        *((without_safetensors, f"weights{end}") for end in (".bin", ".pt", ".pth", ".pkl", ".ckpt")),
        (without_safetensors, "pytorch_model.bin"),
        (without_safetensors, "pytorch_model-00001-of-00002.bin"),
        (index, "pytorch_model-00001-of-00002.bin"),
        (explicit, "adapter_model.bin"),
        (disguised, "model.safetensors"),
    ],
)
@pytest.mark.parametrize("trusting", [False, True])
def test_a_pickle_is_refused_by_its_name(
    folder: Path, change: Callable[[Path, str], None], name: str, trusting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr("torch.load", None)
    change(folder, name)
    with pytest.raises(ModelError, match=r"is a pickle file.*safetensors") as raised:
        HuggingFace(str(folder), trust_remote_code=trusting)
    assert str(folder / name) in str(raised.value)


def test_a_pickle_alone_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=r"model.pt is a pickle file"):
        load_model(f"hf:{file}")


def test_a_kernel_of_the_hub_is_code(folder: Path) -> None:
    rewritten(folder / "config.json", attn_implementation="somebody/fast-attention")
    with pytest.raises(ModelError, match="code of its own"):
        load_model(f"hf:{folder}")


# Encoders


@pytest.fixture
def encoder(sound: Path, tmp_path: Path) -> Path:
    """A folder as sentence-transformers lays it out: a transformer, a pooling, a dense layer."""
    from safetensors.torch import save_file
    from torch import arange
    from transformers import BertConfig, BertModel

    made = tmp_path / "encoder"
    tokenizer = tiny.tokenizer("masked")
    size: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(made)
    tokenizer.save_pretrained(made)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    (made / "modules.json").write_text(
        json.dumps(
            [
                {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for at, (path, kind) in enumerate(kinds)
            ]
        )
    )
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True})
    )
    (made / "2_Dense").mkdir()
    (made / "2_Dense" / "config.json").write_text(
        json.dumps(
            {
                "in_features": 8,
                "out_features": 4,
                "bias": False,
                "activation_function": "torch.nn.modules.linear.Identity",
            }
        )
    )
    save_file({"linear.weight": arange(32.0).reshape(4, 8).sin()}, made / "2_Dense" / "model.safetensors")
    return made


def test_a_sound_encoder_is_loaded(encoder: Path) -> None:
    made = load_encoder(f"sentence_transformers:{encoder}")
    assert made.encode(["near Ostland"]).shape == (1, 4)


def test_an_encoder_of_other_pooling_is_another_encoder(encoder: Path, tmp_path: Path) -> None:
    def identity() -> str:
        return load_encoder(f"sentence_transformers:{encoder}").identity

    first = identity()
    pooling = encoder / "1_Pooling" / "config.json"
    told = json.loads(pooling.read_text())
    pooling.write_text(json.dumps(dict(reversed(told.items())), indent=3))
    assert identity() == first  # said otherwise, the same
    with EditMemory.open(tmp_path / "facts", encoder=f"sentence_transformers:{encoder}", store="exact") as memory:
        memory.add("The capital of Ostland is Aberport")
        mean = memory.search("Ostland near Brill")[0].score
    rewritten(pooling, pooling_mode_mean_tokens=False, pooling_mode_max_tokens=True)
    assert identity() != first
    with EditMemory.open(tmp_path / "facts", encoder=f"sentence_transformers:{encoder}", store="exact") as memory:
        assert memory.search("Ostland near Brill")[0].score != mean  # encoded anew
        assert len(memory.journal.encoders()) == 2
    rewritten(encoder / "config.json", transformers_version="9.9.9")
    second = identity()
    pooling.write_text(json.dumps(told))
    assert identity() == first != second
    shutil.rmtree(encoder / "2_Dense")
    (encoder / "modules.json").write_text(json.dumps(json.loads((encoder / "modules.json").read_text())[:2]))
    assert identity() not in (first, second)


def test_code_and_pickles_of_an_encoder_are_refused(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.load", None)
    dense = encoder / "2_Dense"
    (dense / "model.safetensors").unlink()
    (dense / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model.bin is a pickle file"):
        load_encoder(f"sentence_transformers:{encoder}")
    shutil.rmtree(dense)
    modules = json.loads((encoder / "modules.json").read_text())[:2]
    modules.append({"idx": 2, "name": "2", "path": "2_Own", "type": "own.Own"})
    marker = encoder.parent / "marker"
    (encoder / "own.py").write_text(CODE.format(marker=str(marker)))
    (encoder / "modules.json").write_text(json.dumps(modules))
    monkeypatch.syspath_prepend(str(encoder))
    with pytest.raises(ModelError, match=r"code of its own \(its modules.json names own.Own\)"):
        load_encoder(f"sentence_transformers:{encoder}")
    (encoder / "modules.json").write_text(json.dumps(modules[:2]))
    rewritten(encoder / "config.json", model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    with pytest.raises(ModelError, match="code of its own"):
        load_encoder(f"sentence_transformers:{encoder}")
    assert not marker.exists()
