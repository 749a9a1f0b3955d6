"""A run that can be trusted: killed and resumed it ends with the same weights, or it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from scenesearch.datasets.tables import DatasetError  # noqa: E402
from tests.unit.training_world import assert_equal_runs, go, recipe_for, write_task  # noqa: E402
from training import train as train_module  # noqa: E402
from training.corpus import find_source, load_corpus  # noqa: E402
from training.judgments import judge  # noqa: E402
from training.losses import contrastive_loss, judgment_loss  # noqa: E402
from training.recipe import Recipe, TrainingError, load_recipe  # noqa: E402


@pytest.fixture
def data(tmp_path):
    return write_task(tmp_path / "data")


@pytest.mark.slow
def test_a_run_killed_and_resumed_ends_with_the_weights_of_one_that_was_not(data, tmp_path):
    go(recipe_for(data), tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.unit.training_world", str(data), str(out), "both"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while not (out / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.25)  # some steps past the checkpoint
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "summary.json").exists()

    summary = go(recipe_for(data), out, resume=True)

    assert summary["steps"] == 24
    assert_equal_runs(tmp_path / "whole", out)


@pytest.mark.parametrize(
    ("given", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_a_waiting_thread_leaves_its_core_unless_it_is_asked_not_to(given, found):
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    script = "import training, os; print(os.environ['OMP_WAIT_POLICY'])"
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, env=kept | given, text=True).strip() == found


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["heads", "text", "image", "lora"])
@pytest.mark.parametrize("stop", [2, 9])
def test_interrupted_anywhere_a_run_resumes_to_the_same_weights(
    data, tmp_path, monkeypatch, mode, stop
):
    recipe = recipe_for(data, mode)
    go(recipe, tmp_path / "whole")

    def interrupt(done, total, loss):
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(recipe, tmp_path / "cut", on_step=interrupt)
    go(recipe, tmp_path / "cut", resume=True)

    assert_equal_runs(tmp_path / "whole", tmp_path / "cut")


def test_a_run_leaves_its_recipe_metrics_curves_and_summary(data, tmp_path):
    out = tmp_path / "out"
    summary = go(recipe_for(data), out)
    assert json.loads((out / "summary.json").read_text()) == summary
    assert load_recipe(str(out / "recipe.toml")) == recipe_for(data)
    rows = (out / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("step,epoch,loss,contrastive,judgment")
    assert [row.split(",")[0] for row in rows[1:]] == ["6", "12", "18", "24"]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert {"data_fingerprint", "git_commit", "device", "duration_s", "versions"} <= set(summary)
    found = summary["evaluation"][str(data)]
    assert found["queries"] == 6
    assert found["gallery"] == 6


def test_a_complete_run_resumed_returns_its_summary(data, tmp_path):
    summary = go(recipe_for(data), tmp_path / "out")
    assert go(recipe_for(data), tmp_path / "out", resume=True) == summary


def test_a_folder_with_a_run_is_not_overwritten(data, tmp_path):
    go(recipe_for(data), tmp_path / "out")
    with pytest.raises(TrainingError, match="holds a run; --resume goes on"):
        go(recipe_for(data), tmp_path / "out")


def test_resuming_with_another_recipe_is_refused(data, tmp_path):
    go(recipe_for(data), tmp_path / "out")
    with pytest.raises(TrainingError, match=r"batch was 8, now 4"):
        go(recipe_for(data, batch=4), tmp_path / "out", resume=True)


def test_resuming_with_other_data_is_refused(data, tmp_path):
    go(recipe_for(data), tmp_path / "out")
    table = data / "train_dataset.csv"
    table.write_text(table.read_text().replace("dark red", "light red"))
    with pytest.raises(TrainingError, match="the data has changed"):
        go(recipe_for(data), tmp_path / "out", resume=True)


def test_a_loss_that_is_no_number_stops_the_run_and_leaves_nothing(data, tmp_path, monkeypatch):
    def nan(*arguments):
        return contrastive_loss(*arguments) * float("nan")

    monkeypatch.setattr("training.loop.contrastive_loss", nan)
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        go(recipe_for(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_running_out_of_memory_says_what_to_change(data, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("training.loop.contrastive_loss", full)
    with pytest.raises(TrainingError, match=r"out of memory with batch=8 .* --set batch=4"):
        go(recipe_for(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_test_picture_among_the_train_pictures_is_refused_by_name(data, tmp_path):
    stolen = data / "test_images" / "test_red_0.png"
    (data / "train_images" / stolen.name).write_bytes(stolen.read_bytes())
    with (data / "train_dataset.csv").open("a") as table:
        table.write(f"{stolen.name},{stolen.name}#0,a stolen one\n")
    with pytest.raises(TrainingError, match=r"test_red_0\.png by its name"):
        go(recipe_for(data), tmp_path / "out")


def test_a_renamed_test_picture_is_refused_by_its_content(data, tmp_path):
    stolen = data / "test_images" / "test_red_0.png"
    (data / "train_images" / "train_red_0.png").write_bytes(stolen.read_bytes())
    with pytest.raises(TrainingError, match=r"train_red_0\.png by its content"):
        go(recipe_for(data), tmp_path / "out")


def test_a_test_query_among_the_captions_is_refused_or_left_out(data):
    table = data / "test_queries.csv"
    table.write_text(table.read_text().replace("a red one, number 0", "Dark  red picture."))
    with pytest.raises(TrainingError, match="caption 'dark red picture'"):
        load_corpus(recipe_for(data), data, lambda _: None)
    kept = load_corpus(recipe_for(data, on_leak="leave-out"), data, lambda _: None)
    captions = [c for e in (*kept.train, *kept.validation) for c in (*e.captions, *e.judged)]
    assert "dark red picture" not in captions
    assert "light red picture" in captions


def test_captions_that_match_no_picture_are_refused(tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("image,caption\ngone.jpg,a dog\n")
    with pytest.raises(DatasetError, match=r"no usable row .*'gone\.jpg' is missing"):
        load_corpus(Recipe(data=(str(manifest),)), tmp_path, lambda _: None)


def test_a_split_without_pictures_on_one_side_is_refused(data, tmp_path):
    with pytest.raises(TrainingError, match="24 to train on and 0 to select by"):
        go(recipe_for(data, validation_share=0.0), tmp_path / "out")


def test_no_text_of_a_validation_picture_is_judged_in_training(data):
    table = data / "train_dataset.csv"
    header, *rows = table.read_text().splitlines()
    rows = [",".join([*row.split(",")[:2], f"as {row.split(',')[1]}"]) for row in rows]
    table.write_text("\n".join([header, *rows]) + "\n")
    corpus = load_corpus(recipe_for(data, validation_share=0.3), data, lambda _: None)
    unseen = {caption for example in corpus.validation for caption in example.captions}
    assert unseen
    assert not unseen & {text for example in corpus.train for text in example.judged}


def test_a_text_that_is_also_a_train_pictures_caption_is_judged_in_training(data):
    corpus = load_corpus(recipe_for(data, validation_share=0.3), data, lambda _: None)
    sides = (corpus.train, corpus.validation)
    train, held = ({text for example in side for text in example.captions} for side in sides)
    assert train & held
    assert train & held <= {text for example in corpus.train for text in example.judged}


def test_int8_that_too_few_pictures_could_accept_is_fp16_and_said_to_be(data):
    lines = []
    recipe = recipe_for(data, precision="int8")
    corpus = load_corpus(recipe, data, lambda _: None)
    assert train_module.storage_precision(recipe, corpus, lines.append) == "fp16"
    assert "int8 is accepted by 50 pictures held back from training, and there are" in lines[0]
    enough = replace(corpus, validation=corpus.validation * 50)
    assert train_module.storage_precision(recipe, enough, lines.append) == "int8"
    assert train_module.storage_precision(recipe_for(data), corpus, lines.append) == "fp32"
    assert len(lines) == 1


def test_a_source_may_carry_a_weight(tmp_path):
    source = find_source("photos=2.5", tmp_path)
    assert (source.place, source.weight) == (Path("photos"), 2.5)
    source = find_source("a=b/photos", tmp_path)
    assert (source.place, source.weight) == (Path("a=b/photos"), 1.0)
    with pytest.raises(TrainingError, match="the weight must be above 0"):
        find_source("photos=0", tmp_path)


def test_every_bundled_recipe_reads_and_every_value_can_be_set():
    for name in ("task", "clip", "smoke"):
        assert load_recipe(name).name == name
    assert load_recipe("task", ["lr_text=1", "trains=lora"]).lr_text == 1.0
    with pytest.raises(TrainingError, match="there is no key lr"):
        load_recipe("task", ["lr=1"])
    with pytest.raises(TrainingError, match="trains must be one of heads"):
        load_recipe("task", ["trains=everything"])
    with pytest.raises(TrainingError, match="no recipe taks; bundled: clip"):
        load_recipe("taks")


@pytest.mark.parametrize(
    ("grades", "yes", "no", "kind", "share"),
    [
        ((3, 3, 4), 0, 0, "positive", 7 / 9),
        ((), 3, 0, "positive", 1.0),
        ((1, 1, 1), 0, 3, "negative", 0.0),
        ((1, 1, 2), 0, 0, "graded", 1 / 9),
        ((1, 1, 1), 3, 0, "graded", 0.5),  # experts and crowd contradict each other
    ],
)
def test_votes_become_a_share_and_a_kind(grades, yes, no, kind, share):
    judgment = judge(grades, yes, no)
    assert (judgment.kind, judgment.votes) == (kind, len(grades) + yes + no)
    assert judgment.share == pytest.approx(share)


def test_a_pair_of_weight_zero_neither_attracts_nor_repels():
    images = torch.eye(2, requires_grad=True)
    texts = torch.eye(2)[[0, 1, 1]]
    targets = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    weights = torch.tensor([[1.0, 0, 0], [1.0, 1, 0]])
    loss = contrastive_loss(images, texts, targets, weights, torch.tensor(1.0))
    loss.backward()
    assert torch.isfinite(images.grad).all()
    # rows: nothing repels the first: 0; the second is beside e^0: log(1 + e^-1)
    # columns: the first is beside e^0: log(1 + e^-1); nothing repels the second: 0
    assert loss.item() == pytest.approx(0.5 * torch.log1p(torch.exp(torch.tensor(-1.0))).item())


def test_the_judgment_loss_is_zero_when_the_sigmoid_says_what_the_votes_say():
    shares = torch.tensor([0.25, 0.5, 0.9])
    one = torch.tensor(1.0)
    loss = judgment_loss(shares.logit(), shares, torch.tensor([3.0, 3, 6]), one, 0 * one)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
