"""Bases become towers, towers become encoder folders, and all of them say the same."""

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image  # noqa: E402

from scenesearch.encoder.hub import HubError  # noqa: E402
from scenesearch.encoder.model_folder import ModelError  # noqa: E402
from scenesearch.encoder.onnx import OnnxEncoder  # noqa: E402
from scenesearch.encoder.registry import find_encoder  # noqa: E402
from training import export, gate  # noqa: E402
from training.export import ExportError, export_towers, save_weights  # noqa: E402
from training.gate import Validation  # noqa: E402
from training.tiny_clip import write_tiny_clip  # noqa: E402
from training.towers import load_towers  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TEXTS = ["a red dog", "a blue circle on a green field and a red dog"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_tiny_clip(tmp_path_factory.mktemp("base") / "tiny", TEXTS, seed=0)


@pytest.fixture(scope="module")
def exported(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    export_towers(load_towers(clip), folder, name="tiny", facts={})
    return folder


def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    return Image.fromarray(values).resize((64, 48))


def unit(vectors):
    return torch.nn.functional.normalize(vectors.detach(), dim=-1).numpy()


@pytest.mark.slow
def test_an_exported_clip_says_what_transformers_says(clip, exported):
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    processor = transformers.CLIPImageProcessorPil.from_pretrained(clip)
    encoder = OnnxEncoder(exported, threads=1)
    with torch.no_grad():
        texts = model.get_text_features(**tokenizer(TEXTS, padding=True, return_tensors="pt"))
        images = model.get_image_features(**processor(picture(), return_tensors="pt"))
    assert np.allclose(encoder.encode_texts(TEXTS), unit(texts.pooler_output), atol=1e-4)
    assert np.allclose(encoder.encode_images([picture()]), unit(images.pooler_output), atol=2e-3)


def test_a_saved_clip_gives_the_same_vectors_in_sentence_transformers(clip, exported, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    save_weights(load_towers(clip), tmp_path / "weights")
    model = sentence_transformers.SentenceTransformer(str(tmp_path / "weights"), device="cpu")
    encoder = OnnxEncoder(exported, threads=1)
    assert np.allclose(model.encode(TEXTS), encoder.encode_texts(TEXTS), atol=1e-4)
    assert np.allclose(model.encode([picture()]), encoder.encode_images([picture()]), atol=2e-3)


def test_saved_weights_are_a_base_again_with_what_training_changed(clip, tmp_path):
    towers = load_towers(clip)
    with torch.no_grad():
        towers.log_logit_scale.fill_(3.0)
        towers.text_tower.projection.weight.mul_(2.0)
    save_weights(towers, tmp_path / "weights")
    again = load_towers(tmp_path / "weights")
    assert again.logit_scale.item() == pytest.approx(np.exp(3.0))
    assert torch.equal(again.text_tower.projection.weight, towers.text_tower.projection.weight)


def test_the_exported_encoder_declares_the_scale_of_its_model(clip, exported):
    declared = OnnxEncoder(exported, threads=1).info.scale
    model = transformers.CLIPModel.from_pretrained(clip)
    assert declared.logit_scale == pytest.approx(model.logit_scale.exp().item(), rel=1e-5)
    assert declared.logit_bias is None


def test_every_weight_is_in_one_part_once(clip):
    towers = load_towers(clip)
    parts = [id(p) for part in towers.parts().values() for p in part]
    assert sorted(parts) == sorted(id(p) for p in towers.parameters())
    heads = {id(p) for p in towers.parts()["heads"]}
    assert heads == {
        id(towers.image_tower.projection.weight),
        id(towers.text_tower.projection.weight),
        id(towers.log_logit_scale),
    }


@pytest.mark.slow
def test_a_sentence_transformers_text_tower_stands_beside_a_clip(clip, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer import modules as models

    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    config = transformers.DistilBertConfig(
        vocab_size=len(tokenizer), dim=32, hidden_dim=48, n_layers=1, n_heads=2
    )
    torch.manual_seed(0)
    transformers.DistilBertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    body = models.Transformer(str(tmp_path / "bert"), max_seq_length=20)
    dense = models.Dense(32, 64, bias=False, activation_function=torch.nn.Identity())
    text = sentence_transformers.SentenceTransformer(
        modules=[body, models.Pooling(32), dense], device="cpu"
    )
    text.save(str(tmp_path / "text"))
    towers = load_towers(clip, text_base=tmp_path / "text")
    export_towers(towers, tmp_path / "out", name="pair", facts={})
    given = OnnxEncoder(tmp_path / "out", threads=1).encode_texts(TEXTS)
    wanted = text.encode(TEXTS, normalize_embeddings=True)
    assert np.allclose(given, wanted, atol=1e-4)
    save_weights(towers, tmp_path / "weights")
    again = load_towers(tmp_path / "weights")
    ids = torch.tensor([[3, 4, 5]])
    mask = torch.ones_like(ids)
    assert torch.allclose(again.text_tower(ids, mask), towers.text_tower(ids, mask))


def test_the_bundled_encoder_comes_back_from_its_graphs():
    towers = load_towers("lite")
    encoder = OnnxEncoder(find_encoder("lite"), threads=1)
    pixels = encoder.preprocess(picture())[None]
    ids = torch.tensor([towers.tokenizer.encode(TEXTS[1]).ids])
    with torch.no_grad():
        image = towers.image_tower(torch.from_numpy(pixels))
        text = towers.text_tower(ids, torch.ones_like(ids))
    assert np.allclose(unit(image), encoder.encode_pixels(pixels), atol=1e-4)
    assert np.allclose(unit(text), encoder.encode_texts(TEXTS[1:]), atol=1e-4)


@pytest.mark.slow
def test_graphs_that_drift_from_torch_are_refused_with_the_figure(clip, tmp_path, monkeypatch):
    towers = load_towers(clip)
    right = export.export_image_tower

    def drifted(tower, size):
        graph = right(tower, size)
        for tensor in graph.graph.initializer:
            values = export.numpy_helper.to_array(tensor)
            if values.ndim == 2 and values.dtype == np.float32:
                noise = np.random.default_rng(0).normal(0, 1, values.shape).astype(np.float32)
                tensor.CopyFrom(export.numpy_helper.from_array(values + noise, tensor.name))
        return graph

    monkeypatch.setattr(export, "export_image_tower", drifted)
    with pytest.raises(ExportError, match=r"its image graph has cosine -?0\.\d+ to torch"):
        export_towers(towers, tmp_path / "out", name="drifted", facts={})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_int8_is_refused_without_pictures_to_judge_it_by(clip, tmp_path):
    with pytest.raises(ExportError, match=r"int8 for tiny .* 50 are needed, 0 are given"):
        export_towers(load_towers(clip), tmp_path / "out", name="tiny", precision="int8", facts={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_int8_is_smaller_and_notes_the_recall_it_kept(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "RECALL_LOSS", 100)  # random weights rank by chance
    names = ["red", "green", "blue", "white"]
    paths = [tmp_path / f"{n}.png" for n in range(60)]
    for n, path in enumerate(paths):
        rng = np.random.default_rng(n)
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)
    captions = tuple((f"a {names[n % 4]} {names[n % 3]} dog",) for n in range(60))
    towers, sizes = load_towers(clip), {}
    for precision in ("fp32", "fp16", "int8"):
        export_towers(
            towers,
            tmp_path / precision,
            name="tiny",
            precision=precision,
            validation=Validation(tuple(paths), captions),
            facts={},
        )
        parts = ("image.onnx", "text.onnx")
        sizes[precision] = sum((tmp_path / precision / part).stat().st_size for part in parts)
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    declared = json.loads((tmp_path / "int8" / "encoder.json").read_text())
    assert declared["int8_accepted_by"]["pictures"] == 60
    assert min(declared["parity"].values()) > 0.99


def test_an_exported_clip_is_no_base_and_the_weights_are_asked_for(exported):
    with pytest.raises(ModelError, match="give the weights folder"):
        load_towers(exported)


def test_a_folder_of_another_model_is_refused(clip, tmp_path):
    folder = shutil.copytree(clip, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(ModelError, match="is a gpt2 model: take a folder of CLIP, MetaCLIP 2"):
        load_towers(folder)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_towers(tmp_path)


def test_a_hub_base_that_cannot_be_had_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match=r"someone/clip cannot be had from the hub: .+"):
        load_towers("someone/clip")


def test_a_name_that_is_nothing_is_refused():
    with pytest.raises(ModelError, match="no base 'nothing'"):
        load_towers("nothing")
    with pytest.raises(ModelError, match=r"no base 'litee'.*; did you mean lite\?$"):
        load_towers("litee")
