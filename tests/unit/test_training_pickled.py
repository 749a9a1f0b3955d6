"""Weights that come as a pickle: refused as a base, rewritten on request, by tensors alone."""

import os
import shutil
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from scenesearch.encoder.hub import HubError, RemoteFile, Repository, names_to_convert  # noqa: E402
from scenesearch.encoder.model_folder import ModelError  # noqa: E402
from training.pickled import write_safetensors  # noqa: E402
from training.tiny_clip import write_tiny_clip  # noqa: E402
from training.towers import load_towers  # noqa: E402


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A CLIP whose weights are in two pickles."""
    folder = write_tiny_clip(tmp_path / "tiny", ["a red dog"], seed=0)
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        torch.save(
            {name: state[name] for name in part},
            folder / f"pytorch_model-0000{number}-of-00002.bin",
        )
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    (folder / "model.safetensors").rename(tmp_path / "before.safetensors")
    return folder


def test_a_base_whose_weights_are_a_pickle_is_refused_with_what_to_run(pickled: Path) -> None:
    with pytest.raises(ModelError, match=f"scenesearch models convert {pickled} FOLDER"):
        load_towers(pickled)


def test_rewritten_weights_are_the_same_and_serve_as_a_base(pickled: Path, tmp_path: Path) -> None:
    target = tmp_path / "rewritten"
    assert write_safetensors(pickled, target) == [target / "model.safetensors"]
    before, after = (
        load_file(tmp_path / "before.safetensors"),
        load_file(target / "model.safetensors"),
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list(target.glob("*.bin*"))
    load_towers(target)


def test_a_part_that_is_safetensors_already_is_kept(pickled: Path, tmp_path: Path) -> None:
    part = pickled / "2_Dense"
    part.mkdir()
    shutil.copy(tmp_path / "before.safetensors", part / "model.safetensors")
    torch.save({"linear.weight": torch.ones(2, 2)}, part / "pytorch_model.bin")
    target = tmp_path / "rewritten"
    assert write_safetensors(pickled, target) == [target / "model.safetensors"]
    kept = target / "2_Dense" / "model.safetensors"
    assert kept.read_bytes() == (tmp_path / "before.safetensors").read_bytes()


def test_a_pickle_with_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    source = tmp_path / "hostile"
    source.mkdir()
    torch.save({"weight": Hostile()}, source / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is refused"):
        write_safetensors(source, tmp_path / "out")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_pickle_that_is_no_table_of_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no table of tensors"):
        write_safetensors(tmp_path, tmp_path / "out")


def test_a_folder_without_pickles_and_a_taken_target_are_refused(
    pickled: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="to convert"):
        write_safetensors(write_tiny_clip(tmp_path / "safe", ["a"], seed=0), tmp_path / "out")
    with pytest.raises(ModelError, match="is already there"):
        write_safetensors(pickled, tmp_path / "safe")


def test_a_repository_of_pickles_is_not_pulled_and_names_the_command() -> None:
    files = dict.fromkeys(
        ("config.json", "pytorch_model.bin", "0_CLIP/config.json"), RemoteFile(1, None)
    )
    repo = Repository("someone/clip", "0" * 40, files, None)
    with pytest.raises(HubError, match="scenesearch models convert someone/clip FOLDER"):
        names_to_convert(repo)
    assert set(names_to_convert(repo, pickled=True)) == set(files)
