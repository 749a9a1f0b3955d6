"""The whole recipe on random towers a thousandth of the size, and what it hands over."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from training.config import Stage, TrainConfig, load_recipe  # noqa: E402
from training.data import drawn_domain  # noqa: E402
from training.export import export_encoder, quantise  # noqa: E402
from training.model import (  # noqa: E402
    AttentionPool,
    TowerShape,
    fold_batch_norm,
    tiny_bases,
)
from training.train import Bases, choose_captions, main, recall_at, train  # noqa: E402

SHAPE = TowerShape(dimension=16, hidden=24, dropout=0.1, pool_groups=4, trunk_layers=12)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on towers this small wait for each other
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return drawn_domain(101, 12, 4, 64, 2, tmp_path_factory.mktemp("drawn"))


def bases_for(domain) -> Bases:
    captions = [c for five in (*domain.train.captions, *domain.validation.captions) for c in five]
    words = sorted({word for caption in captions for word in caption.split()})
    vocabulary = {word: n for n, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    model, classifier = tiny_bases(SHAPE, len(vocabulary), seed=0)
    return Bases(model, classifier, tokenizer)


def tiny_config(*stages: Stage, **changes) -> TrainConfig:
    settings = {
        "recipe": "tiny",
        "seed": 3,
        "image_base": "",
        "text_base": "",
        "image_labels": "unused",
        "image_size": 64,
        "context_length": 32,
        "dimension": 16,
        "hidden": 24,
        "dropout": 0.1,
        "pool_groups": 4,
        "trunk_layers": 12,
        "views": 2,
        "smallest_area": 0.8,
        "word_dropout": 0.1,
        "weight_decay": 0.01,
        "ema_decay": 0.5,
        "classes_per_step": 4,
        "class_weight": 0.1,
        "prototype_weight": 0.1,
        "drawn_pictures": 12,
        "drawn_validation": 4,
        "drawn_seed": 101,
        "drawn_views": 2,
    }
    return TrainConfig(stages=stages, **{**settings, **changes})


HEADS = Stage("heads", 2, 6, {"heads": 1e-2}, captions_per_image=2, warmup_steps=1)
WHOLE = Stage(
    "whole", 1, 6, {"heads": 1e-3, "top": 1e-3, "text": 1e-3, "trunk": 1e-3}, warmup_steps=1
)


def test_a_run_moves_every_part_and_can_go_on_where_it_stopped(drawn, tmp_path):
    bases = bases_for(drawn)
    before = {name: [p.clone() for p in part] for name, part in bases.model.parts().items()}
    lines: list[str] = []
    trained = train(tiny_config(HEADS, WHOLE), [drawn], bases, tmp_path, lines.append)
    for name, part in trained.parts().items():
        moved = any(not torch.equal(a, b) for a, b in zip(before[name], part, strict=True))
        if name != "heads":  # WiSE-FT may keep the towers where they started, but says so
            assert moved or any("wise-ft 0.00" in line for line in lines)
    epochs = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(epoch["stage"], epoch["epoch"]) for epoch in epochs] == [
        ("heads", 1),
        ("heads", 2),
        ("whole", 1),
    ]

    again = bases_for(drawn)
    lines.clear()
    resumed = train(tiny_config(HEADS, WHOLE), [drawn], again, tmp_path, lines.append)
    assert sum("done before" in line for line in lines) == 2
    assert not any("step" in line for line in lines)
    for one, other in zip(trained.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_stage_moves_only_what_it_names(drawn, tmp_path):
    bases = bases_for(drawn)
    before = {name: [p.clone() for p in part] for name, part in bases.model.parts().items()}
    after = train(tiny_config(HEADS), [drawn], bases, tmp_path, lambda line: None).parts()
    for name in ("trunk", "top", "text"):
        assert all(torch.equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before["heads"], after["heads"], strict=True))


def test_the_same_seed_gives_the_same_weights(drawn, tmp_path):
    runs = [
        train(tiny_config(HEADS), [drawn], bases_for(drawn), tmp_path / name, lambda line: None)
        for name in ("one", "two")
    ]
    for one, other in zip(runs[0].parameters(), runs[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_heads_learn_which_caption_belongs_to_which_drawing(drawn, tmp_path):
    stage = Stage("heads", 30, 12, {"heads": 1e-2, "text": 1e-3}, warmup_steps=1)
    train(tiny_config(stage, dropout=0.0), [drawn], bases_for(drawn), tmp_path, lambda line: None)
    losses = [json.loads(x)["loss"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.7 * losses[0]


@pytest.fixture(scope="module")
def exported(drawn, tmp_path_factory):
    bases = bases_for(drawn)
    folder = tmp_path_factory.mktemp("encoder")
    export_encoder(
        bases.model,
        bases.tokenizer,
        folder,
        name="tiny",
        image_size=64,
        context_length=32,
        facts={},
    )
    return folder, bases


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
    folder, bases = exported
    rng = np.random.default_rng(1)
    pixels = rng.uniform(-1, 1, (2, 3, 64, 64)).astype(np.float32)
    ids, mask = rng.integers(4, 30, (2, 6)), np.ones((2, 6), np.int64)
    with torch.no_grad():
        image = bases.model.image(torch.from_numpy(pixels)).numpy()
        text = bases.model.text(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    for said, meant in (
        (run(folder, "image.onnx", pixel_values=pixels), image),
        (run(folder, "text.onnx", input_ids=ids, attention_mask=mask), text),
    ):
        cosine = (
            (said * meant).sum(1) / np.linalg.norm(said, axis=1) / np.linalg.norm(meant, axis=1)
        )
        assert cosine.min() > 0.999  # float16 and int8 storage


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


def test_two_pictures_described_in_the_same_words_are_both_right(drawn):
    from dataclasses import replace

    said = ("a dog",)
    pictures = replace(drawn.train, captions=(said, ("a cat",), said, *drawn.train.captions[3:]))
    texts, positives = choose_captions(
        pictures, np.array([0, 1, 2]), [False] * 3, 1, np.random.default_rng(0)
    )
    assert texts == ["a dog", "a cat", "a dog"]
    assert positives.tolist() == [[True, False, True], [False, True, False], [True, False, True]]


def test_recall_counts_a_tie_against_the_query():
    similarity = torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.4, 0.1], [0.1, 0.2, 0.3]])
    found = recall_at(similarity, torch.tensor([0, 0, 1]), cutoffs=(1, 2))
    assert found == {"R@1": pytest.approx(100 / 3), "R@2": pytest.approx(100)}


def test_a_recipe_takes_overrides_into_its_stages():
    config = load_recipe("lite", ["seed=5", "stages.tune.epochs=1", "text_base=/somewhere"])
    assert config.seed == 5
    assert config.text_base == "/somewhere"
    assert {stage.name: stage.epochs for stage in config.stages}["tune"] == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=5", "there is no sed"),
        ("stages.tun.epochs=1", "there is no stages.tun.epochs"),
        ("seed", "expected key=value"),
    ],
)
def test_a_mistaken_override_is_one_sentence(override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("lite", [override])


def test_an_unknown_recipe_lists_the_bundled_ones():
    with pytest.raises(ValueError, match="no recipe heavy; bundled: clip, lite, smoke, task"):
        load_recipe("heavy")


def test_a_stage_that_moves_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="the parts are trunk, top, text, heads"):
        Stage("odd", 1, 8, {"tail": 1e-3})


def test_a_missing_image_base_ends_in_one_sentence(tmp_path, capsys):
    (tmp_path / "model.safetensors").touch()
    arguments = ["--shared", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"text_base={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("training: no image base at")
    assert "--set image_base=FILE" in said


def test_missing_text_weights_end_in_one_sentence(tmp_path, capsys):
    assert main(["--shared", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("training: no MiniLM weights in")
    assert "--set text_base=" in said
