"""`scenesearch models`, the whole command, against a hub on this machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

from tests import ready_layouts
from tests.cli import run_here
from tests.fake_hub import SHA, FakeHub, serving
from tests.tiny_encoder import declare, write_tiny_encoder

READY = "someone/tiny-clip"
CONFIG = {"model_type": "clip", "text_config": {"max_position_embeddings": 8}}
PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"height": 4, "width": 4},
    "do_center_crop": False,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "resample": 3,
}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A repository that carries both towers as graphs, under the names of the conversions."""
    folder = write_tiny_encoder(tmp_path_factory.mktemp("tiny"))
    graphs = {}
    for side, part in (("image", "vision"), ("text", "text")):
        model = onnx.load(folder / f"{side}.onnx")
        model.graph.node[-1].output[0] = model.graph.output[0].name = f"{side}_embeds"
        graphs[f"onnx/{part}_model.onnx"] = model.SerializeToString()
    return graphs | {
        "tokenizer.json": (folder / "tokenizer.json").read_bytes(),
        "tokenizer_config.json": json.dumps({"pad_token": "[PAD]"}).encode(),
        "preprocessor_config.json": json.dumps(PREPROCESSOR).encode(),
        "config.json": json.dumps(CONFIG).encode(),
    }


@pytest.fixture
def hub(ready: dict[str, bytes]):
    with serving(FakeHub({READY: dict(ready)})) as served:
        yield served


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def environment(data_dir: Path, url: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    return kept | {
        "SCENESEARCH_DATA_DIR": str(data_dir),
        "HF_ENDPOINT": url,
        "HF_HOME": str(data_dir / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
    }


def scenesearch(
    *arguments: str | Path, data_dir: Path, url: str = "http://127.0.0.1:9", **settings: str
) -> subprocess.CompletedProcess[str]:
    from huggingface_hub import constants, file_download

    with pytest.MonkeyPatch.context() as patch:
        # The hub's library has read its variables when it was imported.
        patch.setattr(constants, "ENDPOINT", url)
        patch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        patch.setattr(constants, "HF_HUB_CACHE", str(data_dir / "hf" / "hub"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
        # It tries five times, a second apart.
        patch.setattr(file_download, "time", SimpleNamespace(sleep=lambda _: None))
        return run_here(*arguments, environment=environment(data_dir, url) | settings)


def shelf(data_dir: Path) -> list[str]:
    models = data_dir / "models"
    return sorted(path.name for path in models.iterdir()) if models.is_dir() else []


def assert_refused(done: subprocess.CompletedProcess[str], sentence: str, data_dir: Path) -> None:
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert shelf(data_dir) == []


def test_ready_towers_are_pulled_at_a_commit_and_searched_with(
    hub: FakeHub, data_dir: Path, tmp_path: Path
) -> None:
    done = scenesearch("models", "pull", READY, "--name", "tiny", data_dir=data_dir, url=hub.url)
    assert done.returncode == 0, done.stderr
    folder = data_dir / "models" / "tiny"
    declared = json.loads((folder / "encoder.json").read_text())
    assert declared["parent"] == {"base": READY, "revision": SHA, "license": "mit"}
    assert declared["verified"]["text"] >= 0.9999
    assert "mit" in (folder / "README.md").read_text()
    assert shelf(data_dir) == ["tiny"]

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (40, 40), name).save(pictures / f"{name}.png")
    with_tiny = ("--library", "colours", "--encoder", "tiny")
    assert scenesearch("ingest", pictures, *with_tiny, data_dir=data_dir).returncode == 0
    found = scenesearch(
        *("search", "blue", *with_tiny, "--min-relevance", "0", "-k", "1", "--json"),
        data_dir=data_dir,
    )
    assert json.loads(found.stdout)["hits"][0]["image_id"] == "blue.png"


def test_ready_towers_need_no_torch(hub: FakeHub, data_dir: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        f"sys.argv = ['scenesearch', 'models', 'pull', {READY!r}]; "
        "from scenesearch.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(data_dir, hub.url),
    )
    assert done.returncode == 0, done.stderr
    assert shelf(data_dir) == ["tiny-clip"]


def test_offline_is_one_sentence_and_leaves_nothing(data_dir: Path) -> None:
    done = scenesearch("models", "pull", READY, data_dir=data_dir)
    assert_refused(done, f"{READY} cannot be had from the hub", data_dir)


def test_half_a_download_leaves_nothing(hub: FakeHub, data_dir: Path) -> None:
    hub.cut = {"onnx/vision_model.onnx"}
    done = scenesearch("models", "pull", READY, data_dir=data_dir, url=hub.url)
    assert_refused(done, READY, data_dir)


def test_a_file_without_its_declared_hash_is_refused(hub: FakeHub, data_dir: Path) -> None:
    hub.forged = {"onnx/text_model.onnx"}
    done = scenesearch("models", "pull", READY, data_dir=data_dir, url=hub.url)
    assert_refused(done, "does not have the hash that the hub declares", data_dir)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["someone/nothing"], "the hub has no model someone/nothing"),
        ([READY, "--revision", "v9"], f"{READY} has no revision v9"),
        (["someone/secret"], "someone/secret is gated"),
        (["no-owner"], "is no hub id: expected OWNER/NAME, or a name of `models list --known`"),
        (["siglip-b61"], "did you mean siglip-b16?"),
        ([READY, "--precision", "fp64"], "--precision fp64: expected fp32, fp16, int8, q4"),
        ([READY, "--precision", "int8"], "in int8: --precision fp32 would be taken"),
        ([READY, "--language", "de"], "takes texts without a language"),
        ([READY, "--text-from", "someone/nothing"], "the hub has no model someone/nothing"),
        ([READY, "--name", "../up"], "letters, digits"),
        ([READY, "--name", "lite"], "lite is the name of a bundled encoder"),
    ],
)
def test_what_cannot_be_had_is_said(
    hub: FakeHub, data_dir: Path, arguments: list[str], sentence: str
) -> None:
    hub.gated = {"someone/secret"}
    done = scenesearch("models", "pull", *arguments, data_dir=data_dir, url=hub.url)
    assert_refused(done, sentence, data_dir)


def test_towers_that_depend_on_their_batch_are_refused(hub: FakeHub, data_dir: Path) -> None:
    files = hub.repositories[READY]
    model = onnx.load_from_string(files["onnx/vision_model.onnx"])
    # Less the mean over the batch: a picture alone is another than among others.
    batch = onnx.numpy_helper.from_array(np.array([0], np.int64), "batch")
    model.graph.initializer.append(batch)
    mean = onnx.helper.make_node("ReduceMean", ["pixel_values", "batch"], ["mean"], keepdims=1)
    shifted = onnx.helper.make_node("Sub", ["pixel_values", "mean"], ["shifted"])
    model.graph.node[0].input[0] = "shifted"
    model.graph.node.insert(0, shifted)
    model.graph.node.insert(0, mean)
    files["onnx/vision_model.onnx"] = model.SerializeToString()
    done = scenesearch("models", "pull", READY, data_dir=data_dir, url=hub.url)
    assert_refused(done, "its image embeddings change with their neighbours", data_dir)


@pytest.mark.slow
def test_a_name_on_the_shelf_is_kept_unless_forced(hub: FakeHub, data_dir: Path) -> None:
    pull = ("models", "pull", READY, "--name", "tiny")
    assert scenesearch(*pull, data_dir=data_dir, url=hub.url).returncode == 0
    mark = data_dir / "models" / "tiny" / "mark"
    mark.touch()
    done = scenesearch(*pull, data_dir=data_dir, url=hub.url)
    assert done.returncode == 2
    assert "tiny is on the shelf" in done.stderr
    hub.cut = {"config.json"}
    assert scenesearch(*pull, "--force", data_dir=data_dir, url=hub.url).returncode == 2
    assert mark.exists()  # replaced at the end, or not at all
    hub.cut = set()
    assert scenesearch(*pull, "--force", data_dir=data_dir, url=hub.url).returncode == 0
    assert not mark.exists()


def test_what_a_killed_pull_left_is_removed_by_the_next(hub: FakeHub, data_dir: Path) -> None:
    hub.stalled = {"onnx/text_model.onnx"}
    process = subprocess.Popen(
        [sys.executable, "-m", "scenesearch.cli", "models", "pull", READY],
        env=environment(data_dir, hub.url) | {"HF_HUB_DOWNLOAD_TIMEOUT": "60"},
        stderr=subprocess.DEVNULL,
    )
    assert hub.began_to_stall.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(shelf(data_dir)) == 1
    hub.released.set()
    hub.stalled = set()
    time.sleep(0.1)
    done = scenesearch("models", "pull", READY, data_dir=data_dir, url=hub.url)
    assert done.returncode == 0, done.stderr
    assert shelf(data_dir) == ["tiny-clip"]


def test_the_list_names_bundled_shelved_and_broken_ones(data_dir: Path) -> None:
    write_tiny_encoder(data_dir / "models" / "tiny")
    broken = write_tiny_encoder(data_dir / "models" / "wreck")
    (broken / "text.onnx").unlink()
    done = scenesearch("models", "list", data_dir=data_dir)
    lines = {line[2:].split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert lines["lite"].startswith("* lite")
    assert "not measured" in lines["tiny"]
    assert "is incomplete" in lines["wreck"]


def test_show_says_whether_the_files_are_whole(data_dir: Path) -> None:
    folder = write_tiny_encoder(data_dir / "models" / "tiny")
    shown = scenesearch("models", "show", "tiny", "--json", data_dir=data_dir)
    assert json.loads(shown.stdout)["whole"] == "every file has its declared hash"
    data = bytearray((folder / "text.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "text.onnx").write_bytes(data)
    shown = scenesearch("models", "show", "tiny", data_dir=data_dir)
    assert "does not have its declared hash" in shown.stdout


def test_calibrating_a_bundled_encoder_is_refused(data_dir: Path, tmp_path: Path) -> None:
    done = scenesearch("models", "calibrate", "lite", "--data", tmp_path, data_dir=data_dir)
    assert_refused(done, "lite is bundled", data_dir)


def repository(tmp_path: Path, files: dict[str, object]) -> dict[str, bytes]:
    return ready_layouts.files_in(ready_layouts.write_files(tmp_path / "written", files))


def test_a_pull_says_the_layout_and_what_to_do_next(data_dir: Path, tmp_path: Path) -> None:
    files = repository(tmp_path, ready_layouts.clip_js())
    with serving(FakeHub({"Xenova/clip-vit-base-patch32": files})) as hub:
        done = scenesearch("models", "pull", "clip-b32", data_dir=data_dir, url=hub.url)
    assert done.returncode == 0, done.stderr
    assert (
        "Xenova/clip-vit-base-patch32: the layout of transformers.js, a graph for each tower, fp32"
        in done.stderr
    )
    assert done.stdout.splitlines()[-3:] == [
        "  scenesearch library build photos --encoder clip-b32",
        "  scenesearch library promote photos",
        '  scenesearch search "a dog in the snow" --library photos',
    ]
    assert shelf(data_dir) == ["clip-b32"]


def test_a_known_pair_is_pulled_from_both_repositories(data_dir: Path, tmp_path: Path) -> None:
    vision, text = ready_layouts.fastembed_pair()
    repositories = {
        "Qdrant/clip-ViT-B-32-vision": repository(tmp_path / "vision", vision),
        "Qdrant/clip-ViT-B-32-text": repository(tmp_path / "text", text),
    }
    with serving(FakeHub(repositories)) as hub:
        done = scenesearch("models", "pull", "clip-b32-fastembed", data_dir=data_dir, url=hub.url)
        wrong = ("Qdrant/clip-ViT-B-32-text", "--text-from", "Qdrant/clip-ViT-B-32-vision")
        refused = scenesearch("models", "pull", *wrong, data_dir=data_dir, url=hub.url)
    assert done.returncode == 0, done.stderr
    assert "Qdrant/clip-ViT-B-32-text and --text-from are no pair" in refused.stderr
    declared = json.loads((data_dir / "models/clip-b32-fastembed/encoder.json").read_text())
    assert declared["parent"]["text_base"] == "Qdrant/clip-ViT-B-32-text"


def test_weights_beside_a_graph_are_pulled(data_dir: Path, tmp_path: Path) -> None:
    files = repository(tmp_path, ready_layouts.jina_v2_js(tmp_path / "graph"))
    with serving(FakeHub({"jinaai/jina-clip-v2": dict(files)})) as hub:
        pull = ("models", "pull", "jina-clip-v2", "--dimensions", "4")
        done = scenesearch(*pull, data_dir=data_dir, url=hub.url)
        assert done.returncode == 0, done.stderr
        del hub.repositories["jinaai/jina-clip-v2"]["onnx/model.onnx_data"]
        done = scenesearch(*pull, "--name", "other", data_dir=data_dir, url=hub.url)
    assert done.returncode == 2
    assert "lacks onnx/model.onnx_data, in which its graph keeps weights" in done.stderr
    assert shelf(data_dir) == ["jina-clip-v2"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.gguf": b"12", "b.bin": b"1"}, "its largest files are a.gguf, b.bin; graphs are taken"),
        ({"pytorch_model.bin": b"1"}, "a pickle (pytorch_model.bin) is not read"),
        ({}, "it has no files"),
    ],
)
def test_a_repository_without_anything_known_is_said(
    data_dir: Path, files: dict[str, bytes], sentence: str
) -> None:
    with serving(FakeHub({"someone/else": files})) as hub:
        done = scenesearch("models", "pull", "someone/else", data_dir=data_dir, url=hub.url)
    assert_refused(done, sentence, data_dir)
    assert ("pickle" in done.stderr) == ("pytorch_model.bin" in files)


def test_a_folder_of_ready_graphs_is_exported_without_torch(data_dir: Path, tmp_path: Path) -> None:
    folder = ready_layouts.write_files(tmp_path / "immich", ready_layouts.immich("nllb"))
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
        f"sys.argv = ['scenesearch', 'models', 'export', {str(folder)!r}, '--name', 'nllb', "
        "'--language', 'de']; from scenesearch.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(data_dir, "http://127.0.0.1:9"),
    )
    assert done.returncode == 0, done.stderr
    assert "the layout of Immich's model shelf, fp32" in done.stderr
    declared = json.loads((data_dir / "models/nllb/encoder.json").read_text())
    assert declared["language"] == "de"
    assert (folder / "visual" / "model.onnx").is_file()


def test_graphs_of_one_row_are_ingested_on_every_core(data_dir: Path, tmp_path: Path) -> None:
    folder = ready_layouts.write_files(tmp_path / "immich", ready_layouts.immich("clip"))
    export = ("models", "export", folder, "--name", "shelf")
    assert scenesearch(*export, data_dir=data_dir).returncode == 0
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(21):
        Image.new("RGB", (40, 30), (number * 10, 0, 99)).save(pictures / f"{number:02}.png")
    done = scenesearch(
        *("ingest", pictures, "--library", "one", "--encoder", "shelf", "--json"),
        *("--workers", "4", "--batch-size", "8"),
        data_dir=data_dir,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == 21


def test_known_encoders_are_listed_without_the_hub(data_dir: Path) -> None:
    listed = scenesearch("models", "list", "--known", data_dir=data_dir)
    assert "siglip2-b16" in listed.stdout
    rows = json.loads(scenesearch("models", "list", "--known", "--json", data_dir=data_dir).stdout)
    assert len({row["name"] for row in rows}) == len(rows) >= 12
    assert all(row["repository"].count("/") == 1 and row["mb"] > 0 for row in rows)


@pytest.mark.slow
def test_bench_times_what_is_on_the_shelf(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenesearch.encoder.speed.LEAST_S", 0.001)
    monkeypatch.setattr("scenesearch.encoder.onnx.usable_cores", lambda: 2)
    write_tiny_encoder(data_dir / "models" / "tiny")
    with_tiny = {"SCENESEARCH_ENCODER": "tiny"}
    done = scenesearch("models", "bench", "--json", data_dir=data_dir, **with_tiny)
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout) if row["name"] == "tiny"]
    assert {row["threads"] for row in rows} == {1, 2}
    assert all({"memory_mb", "mb", "precision"} <= row.keys() for row in rows)
    assert sum(row["fastest_for_queries"] and row["batch"] == 1 for row in rows) == 1
    shown = scenesearch("models", "bench", data_dir=data_dir, **with_tiny)
    assert "SCENESEARCH_THREADS=" in shown.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_repository_with_weights_alone_is_converted_and_others_exported(
    data_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from training.tiny_clip import write_tiny_clip

    source = write_tiny_clip(tmp_path / "clip", ["a red dog", "a blue circle"], seed=0)
    files = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
    files["README.md"] = b"---\nlicense: mit\n---\n"
    with serving(FakeHub({"someone/weights": files})) as hub:
        done = scenesearch("models", "pull", "someone/weights", data_dir=data_dir, url=hub.url)
    assert done.returncode == 0, done.stderr
    folder = data_dir / "models" / "weights"
    declared = json.loads((folder / "encoder.json").read_text())
    assert min(declared["parity"].values()) >= 0.9999
    assert declared["parent"]["revision"] == SHA
    shutil.copytree(source, tmp_path / "again")
    exported = scenesearch(
        *("models", "export", tmp_path / "again", "--name", "small", "--precision", "fp16"),
        data_dir=data_dir,
    )
    assert exported.returncode == 0, exported.stderr
    assert shelf(data_dir) == ["small", "weights"]
    refused = scenesearch(
        *("models", "export", tmp_path / "again", "--name", "tiny", "--precision", "int8"),
        data_dir=data_dir,
    )
    assert refused.returncode == 2
    assert "50 are needed, 0 are given" in refused.stderr
    measured = scenesearch("models", "bench", "small", "weights", "--json", data_dir=data_dir)
    assert {row["name"] for row in json.loads(measured.stdout)} == {"small", "weights"}


def test_an_encoder_without_judgments_is_calibrated_by_contrast(
    data_dir: Path, tmp_path: Path
) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny")
    declare(folder, calibration={})
    before = scenesearch("models", "show", folder, "--json", data_dir=data_dir)
    assert "measured against few descriptions" in json.loads(before.stdout)["calibration"]
    done = scenesearch("models", "calibrate", folder, data_dir=data_dir)
    assert "background descriptions, no judgments" in done.stdout
    after = scenesearch("models", "show", folder, "--json", data_dir=data_dir)
    shown = json.loads(after.stdout)
    assert shown["calibration"]["method"] == "contrast"
    assert "no judgments" in shown["calibration"]["fitted_on"]
    assert shown["calibration"]["date"]
    assert shown["fingerprint"] == json.loads(before.stdout)["fingerprint"]
