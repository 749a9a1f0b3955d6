"""Training in stages, as the bundled encoder is made, on random towers a thousandth of the size."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from tests.tiny_dual_encoder import tiny_dual_encoder  # noqa: E402
from tests.unit.training_world import assert_equal_runs, go_in_stages, staged_recipe  # noqa: E402
from training import train as train_module  # noqa: E402
from training.batches import choose_texts  # noqa: E402
from training.checkpoint import read_tensors  # noqa: E402
from training.corpus import Example  # noqa: E402
from training.export import export_towers, quantise  # noqa: E402
from training.frozen import Frozen  # noqa: E402
from training.learner import make_learner  # noqa: E402
from training.loop import rank_of, recall_at  # noqa: E402
from training.model import AttentionPool, fold_batch_norm  # noqa: E402
from training.recipe import Recipe, TrainingError, load_recipe  # noqa: E402
from training.train import main  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

STAGES = ("heads", "tune", "whole")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    go_in_stages(staged_recipe(), out)
    return out


@pytest.mark.slow
def test_each_stage_leaves_its_best_weights_and_a_run_its_figures(whole):
    trained = [set(read_tensors(whole / f"best-{stage}.pt")) for stage in STAGES]
    assert trained[0] < trained[1] < trained[2]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["steps"] == 12
    assert [row["alpha"] for row in summary["validation"]["wise_ft"]] == [0.0, 1.0]
    header, *rows = (whole / "metrics.csv").read_text().splitlines()
    assert "classes" in header.split(",")
    assert [row.split(",")[0] for row in rows] == ["2", "4", "6", "8", "10", "12"]


def test_a_stage_trains_only_what_it_names():
    towers = tiny_dual_encoder(["a dog"])
    expected = {
        "heads": {"image_tower.pool", "image_tower.head", "text_tower.head"},
        "tune": {"image_tower.top", "text_tower.body.encoder.layer.1"},
        "whole": {"image_tower.trunk", "text_tower.body.embeddings"},
    }
    seen: set[str] = set()
    for name, stage in staged_recipe().in_stages():
        learner = make_learner(towers, stage, [torch.device("cpu")], lambda line: None)
        seen |= expected[name]
        others = {part for parts in expected.values() for part in parts} - seen
        for part in seen:
            assert any(weight.startswith(part) for weight in learner.trained), part
        for part in others:
            assert not any(weight.startswith(part) for weight in learner.trained), part


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(whole, tmp_path):
    go_in_stages(staged_recipe(), tmp_path / "again")
    assert_equal_runs(whole, tmp_path / "again")


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 4, 6, 11])
def test_interrupted_in_any_stage_a_run_resumes_to_the_same_weights(
    whole, tmp_path, monkeypatch, stop
):
    def interrupt(done, total, loss):
        assert total == 12
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_in_stages(staged_recipe(), tmp_path / "cut", on_step=interrupt)
    go_in_stages(staged_recipe(), tmp_path / "cut", resume=True)
    assert_equal_runs(whole, tmp_path / "cut")


@pytest.mark.slow
def test_killed_in_a_stage_and_resumed_a_run_ends_as_one_that_was_not(whole, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.unit.training_world", "-", str(out), "stages"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while not (out / "best-heads.pt").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)  # some steps of the next stage
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "summary.json").exists()

    go_in_stages(staged_recipe(), out, resume=True)

    assert_equal_runs(whole, out)


@pytest.mark.slow
def test_heads_learn_which_caption_belongs_to_which_drawing(tmp_path):
    stage = {"name": "only", "trains": "both", "freeze_trunk": True, "lr_heads": 1e-2}
    stage |= {"lr_text": 1e-3, "lr_image": 0.0, "epochs": 80, "batch": 12}
    recipe = staged_recipe(
        stages=(stage,),
        wise_ft_from="",
        wise_ft=(1.0,),
        class_weight=0.0,
        prototype_weight=0.0,
        word_dropout=0.0,
    )
    go_in_stages(recipe, tmp_path / "out")
    header, *rows = (tmp_path / "out" / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[header.split(",").index("loss")]) for row in rows]
    # Guessing among 12 pictures costs log(12), 2.5; the first steps cost more.
    assert losses[-1] < 1.7


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    towers = tiny_dual_encoder([f"a b c d e f word{n}" for n in range(30)])
    export_towers(towers, folder, name="tiny", precision="fp16", facts={})
    return folder, towers


def run(folder, part, **inputs):
    session = onnxruntime.InferenceSession(str(folder / part), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.slow
def test_the_graphs_have_the_contracts_names_and_free_axes(exported):
    folder, _ = exported
    ports = {}
    for part in ("image.onnx", "text.onnx"):
        graph = onnx.load(folder / part).graph
        for value in (*graph.input, *graph.output):
            shape = value.type.tensor_type.shape.dim
            ports[value.name] = [dim.dim_value or "free" for dim in shape]
    assert ports == {
        "pixel_values": ["free", 3, 64, 64],
        "image_embeddings": ["free", 16],
        "input_ids": ["free", "free"],
        "attention_mask": ["free", "free"],
        "text_embeddings": ["free", 16],
    }


@pytest.mark.slow
def test_padding_and_company_change_no_text_vector(exported):
    folder, _ = exported
    alone = run(
        folder,
        "text.onnx",
        input_ids=np.array([[1, 5, 6, 2]]),
        attention_mask=np.ones((1, 4), np.int64),
    )
    ids = np.array([[1, 5, 6, 2, 0, 0], [1, 9, 8, 7, 6, 2]])
    mask = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    together = run(folder, "text.onnx", input_ids=ids, attention_mask=mask)
    assert np.abs(alone[0] - together[0]).max() < 1e-5
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.mark.slow
def test_company_changes_no_image_vector(exported):
    folder, _ = exported
    pixels = np.random.default_rng(0).uniform(-1, 1, (3, 3, 64, 64)).astype(np.float32)
    alone = run(folder, "image.onnx", pixel_values=pixels[1:2])
    assert np.abs(alone[0] - run(folder, "image.onnx", pixel_values=pixels)[1]).max() < 1e-5


@pytest.mark.slow
def test_the_graphs_say_what_torch_says(exported):
    folder, towers = exported
    rng = np.random.default_rng(1)
    pixels = rng.uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    ids, mask = rng.integers(4, 30, (2, 6)), np.ones((2, 6), np.int64)
    with torch.no_grad():
        image = towers.image_tower(torch.from_numpy(pixels)).numpy()
        text = towers.text_tower(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    for said, meant in (
        (run(folder, "image.onnx", pixel_values=pixels), image),
        (run(folder, "text.onnx", input_ids=ids, attention_mask=mask), text),
    ):
        cosine = (
            (said * meant).sum(1) / np.linalg.norm(said, axis=1) / np.linalg.norm(meant, axis=1)
        )
        assert cosine.min() > 0.999  # float16 storage


@pytest.mark.slow
def test_the_graphs_carry_no_path_of_the_machine_that_made_them(exported):
    folder, _ = exported
    for part in ("image.onnx", "text.onnx"):
        content = (folder / part).read_bytes()
        assert b".py" not in content
        assert b"/site-packages" not in content


def test_a_row_of_zeros_is_stored_without_dividing_by_it():
    rounded, scales = quantise(np.array([[0.0, 0.0], [-2.54, 1.27]], np.float32), axis=1)
    assert rounded.tolist() == [[0, 0], [-127, 64]]
    assert scales[:, 0].tolist() == pytest.approx([1.0, 0.02])


def test_the_tokenizer_is_handed_over_without_padding_or_truncation(exported):
    saved = json.loads((exported[0] / "tokenizer.json").read_text(encoding="utf-8"))
    assert saved["padding"] is None
    assert saved["truncation"] is None


@pytest.mark.slow
def test_what_is_frozen_gives_the_modules_own_maps():
    tower = tiny_dual_encoder(["a dog"]).image_tower
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    frozen = Frozen(tower.trunk, (3, 32, 32))
    assert torch.allclose(frozen(pixels), tower.trunk(pixels), atol=1e-5)
    assert frozen(pixels[:1]).shape[0] == 1  # any number of pictures


def test_attention_pooling_starts_as_the_mean():
    cells = torch.arange(24.0).view(1, 3, 8)
    assert torch.allclose(AttentionPool(8, 4)(cells), cells.mean(dim=1))


def test_folding_batch_norm_changes_no_output():
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    torch.manual_seed(0)
    config = MobileNetV2Config(depth_multiplier=0.25, num_labels=4, image_size=64)
    model = MobileNetV2ForImageClassification(config).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = model(pixels).logits
        fold_batch_norm(model)
        after = model(pixels).logits
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    assert torch.allclose(before, after, atol=1e-4)


def test_two_pictures_described_in_the_same_words_are_both_right():
    same, other = ("a dog",), ("a cat",)
    examples = [
        Example(str(n), Path(str(n)), str(n), captions, 0)
        for n, captions in enumerate((same, other, same))
    ]
    recipe = Recipe(captions_per_image=1)
    chosen = choose_texts(examples, [False] * 3, recipe, np.random.default_rng(0))
    assert chosen.texts == ("a dog", "a cat")
    assert chosen.targets.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_recall_counts_a_tie_against_the_query():
    similarity = torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.4, 0.1], [0.1, 0.2, 0.3]])
    ranks = rank_of(similarity, torch.tensor([0, 0, 1]))
    assert ranks.tolist() == [1, 2, 2]
    found = recall_at(torch.tensor([1, 2, 6]))
    assert list(found.values()) == [pytest.approx(100 / 3), pytest.approx(200 / 3), 100]


def test_a_recipe_takes_overrides_into_its_stages():
    recipe = load_recipe("lite", ["seed=5", "stages.tune.epochs=1", "text_base=/somewhere"])
    assert recipe.seed == 5
    assert recipe.text_base == "/somewhere"
    assert {name: stage.epochs for name, stage in recipe.in_stages()}["tune"] == 1


def test_a_recipe_with_stages_is_written_and_read_back(tmp_path):
    recipe = load_recipe("lite")
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(str(tmp_path / "recipe.toml")) == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=5", "there is no key sed"),
        ("stages.tun.epochs=1", "there is no key stages.tun.epochs"),
        ("stages.tune.data=x", "stage tune: there is no key data of a stage"),
        ("stages.tune.trains=tail", "trains must be one of heads"),
        ("wise_ft_from=tun", "wise_ft_from must be the name of a stage"),
        ("seed", "expected key=value"),
    ],
)
def test_a_mistaken_override_is_one_sentence(override, message):
    with pytest.raises(TrainingError, match=message):
        load_recipe("lite", [override])


@pytest.mark.parametrize("name", ["", "a/b", "a.b"])
def test_the_name_of_a_stage_fits_a_file_and_a_key(name):
    with pytest.raises(TrainingError, match="stages must be tables with a name each, of letters"):
        Recipe(stages=({"name": name},))


def test_a_trunk_can_only_be_frozen_where_there_is_one():
    from tests.tiny_towers import TinyTowers

    recipe = Recipe(trains="both", freeze_trunk=True)
    with pytest.raises(TrainingError, match="tiny has no trunk that freeze_trunk could keep"):
        make_learner(TinyTowers(), recipe, [torch.device("cpu")], lambda line: None)


def test_a_missing_image_base_ends_in_one_sentence(tmp_path, capsys):
    (tmp_path / "model.safetensors").touch()
    arguments = ["--shared", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"text_base={tmp_path}"]) == 2
    [said] = capsys.readouterr().err.splitlines()  # so no data were read or drawn before
    assert said.startswith("training: no image base at")
    assert "--set image_base=FILE" in said


def test_missing_text_weights_end_in_one_sentence(tmp_path, capsys):
    assert main(["--shared", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("training: no MiniLM weights in")
    assert "--set text_base=" in said
    assert not (tmp_path / "out").exists()


def test_the_lite_recipe_takes_one_folder(tmp_path):
    with pytest.raises(TrainingError, match="recipe lite takes one --data"):
        train_module.train("lite", out=tmp_path / "out", log=print, on_step=lambda *_: None)
