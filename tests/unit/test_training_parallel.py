"""Several devices train as one does; here they are two shares of the same processor."""

import pytest

torch = pytest.importorskip("torch")

from tests.tiny_towers import TinyTowers  # noqa: E402
from tests.unit.training_world import go, recipe_for, write_task  # noqa: E402
from training import lora, parallel  # noqa: E402
from training import train as train_module  # noqa: E402
from training.checkpoint import read_tensors  # noqa: E402
from training.parallel import spread  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("adapted", [False, True])
def test_gradients_of_two_shares_are_those_of_the_whole(rows, adapted):
    torch.manual_seed(0)
    tower = TinyTowers().text_tower
    if adapted:
        tower.requires_grad_(False)
        assert lora.adapt(tower, 2)
    ids = torch.randint(2, 10, (rows, 4))
    gradients = []
    for devices in ([CPU], [CPU, CPU]):
        tower.zero_grad()
        spread(tower, (ids, torch.ones_like(ids)), devices).square().sum().backward()
        moved = {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}
        gradients.append({name: gradient.clone() for name, gradient in moved.items()})
    one, two = gradients
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["both", "lora"])
def test_a_run_on_two_devices_ends_with_the_weights_of_one(mode, tmp_path, monkeypatch):
    data = write_task(tmp_path / "data")
    # What dropout drops depends on how the rows are shared out.
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda values, *_: values)
    recipe = recipe_for(data, mode, max_steps=8, word_dropout=0.0)
    go(recipe, tmp_path / "one")
    monkeypatch.setattr(train_module, "pick_devices", lambda: [CPU, CPU])
    go(recipe, tmp_path / "two")
    one, two = (read_tensors(tmp_path / out / "checkpoint.pt") for out in ("one", "two"))
    for name, weight in one["moving"].items():
        assert torch.allclose(weight, two["moving"][name], atol=1e-4), name


def test_every_gpu_is_taken_and_else_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [device.index for device in parallel.pick_devices()] == [0, 1, 2]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert parallel.pick_devices() == [CPU]
