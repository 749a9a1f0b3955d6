"""A folder in the task's format whose pictures are plain colours, and a run on tiny towers.

    python -m tests.unit.training_world DATA OUT MODE [resume]

does one run; the resume test kills it.
"""

import sys
import time
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
MODES = {"heads": "heads", "text": "text", "image": "image", "both": "both", "lora": "lora"}


def write_task(folder: Path, *, each: int = 8, test_each: int = 2) -> Path:
    """`each` train pictures of every colour, judged against the next colour's words."""
    rows, crowd, expert, queries = [], [], [], []
    for part, count in (("train_images", each), ("test_images", test_each)):
        (folder / part).mkdir(parents=True)
        for index in range(count):
            for number, (word, colour) in enumerate(COLOURS.items()):
                name = f"{part[:-7]}_{word}_{index}.png"
                shift = 3 * index + number + (part == "test_images")
                shade = tuple(channel + shift for channel in colour)
                Image.new("RGB", (12, 10), shade).save(folder / part / name)
                kind = ("dark", "light")[index % 2]
                text = f"{kind} {word} picture"
                if part == "train_images":
                    other = list(COLOURS)[(number + 1) % 3]
                    rows += [
                        f"{name},{name}#0,{text}",
                        f"train_{other}_{index}.png,{name}#0,{text}",
                    ]
                    crowd += [f"{name}\t{name}#0\t1\t3\t0"]
                    crowd += [f"train_{other}_{index}.png\t{name}#0\t0\t0\t3"]
                    expert += [f"train_{other}_{index}.png\t{name}#0\t1\t1\t1"]
                else:
                    queries += [f"{len(queries)}|{name}#0|a {word} one, number {index}|{name}"]
    write(folder / "train_dataset.csv", ["image,query_id,query_text", *rows])
    write(folder / "CrowdAnnotations.tsv", crowd)
    write(folder / "ExpertAnnotations.tsv", expert)
    if queries:
        write(folder / "test_queries.csv", ["|query_id|query_text|image", *queries])
    return folder


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def recipe_for(data: Path, mode: str = "both", **changes):
    from training.recipe import Recipe

    settings = {
        "name": "colours",
        "base": "tiny",
        "data": (str(data),),
        "validation_share": 0.3,
        "trains": mode,
        "lr_heads": 0.02,
        "lr_text": 0.02,
        "lr_image": 0.02,
        "lora_rank": 2,
        "ema_decay": 0.5,
        "epochs": 100,
        "max_steps": 24,
        "batch": 8,
        "validate_every": 6,
        "checkpoint_every": 4,
        "word_dropout": 0.1,
        "judged_per_image": 2,
        "judgment_weight": 0.5,
    }
    return Recipe(**(settings | changes))


def go(recipe, out: Path, *, resume: bool = False, on_step=lambda *_: None, lines=None):
    """One run on tiny towers, without an export: that is tested where it lives."""
    import torch

    from tests.tiny_towers import TinyTowers
    from training import train

    torch.set_num_threads(1)
    log = (lambda line: None) if lines is None else lines.append
    with replaced(load_base=lambda *_: TinyTowers(), write_encoder=lambda *_: None):
        return train.run(recipe, out, resume=resume, log=log, on_step=on_step)


@contextmanager
def replaced(**functions):
    """Functions of `training.train` for the length of a run."""
    from training import train

    before = {name: getattr(train, name) for name in functions}
    for name, function in functions.items():
        setattr(train, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(train, name, function)


def staged_recipe(**changes):
    """The bundled encoder's stages, four steps each, on drawn scenes."""
    from training.recipe import Recipe

    both = {"trains": "both", "epochs": 2, "batch": 6}
    settings = {
        "name": "staged",
        "base": "tiny",
        "data": ("drawn:16",),
        "validation_share": 0.25,
        "seed": 3,
        "ema_decay": 0.5,
        "weight_decay": 0.01,
        "warmup_share": 0.1,
        "checkpoint_every": 3,
        "views": 2,
        "word_dropout": 0.1,
        "class_weight": 0.1,
        "prototype_weight": 0.1,
        "classes_per_step": 4,
        "wise_ft": (0.0, 1.0),
        "wise_ft_from": "heads",
        "stages": (
            both | {"name": "heads", "trains": "heads", "freeze_trunk": True, "lr_heads": 1e-2},
            both
            | {"name": "tune", "freeze_trunk": True, "freeze_text_layers": 1}
            | dict.fromkeys(("lr_heads", "lr_image", "lr_text"), 1e-3),
            both | {"name": "whole"} | dict.fromkeys(("lr_heads", "lr_image", "lr_text"), 1e-3),
        ),
    }
    return Recipe(**(settings | changes))


def go_in_stages(recipe, out: Path, *, resume: bool = False, on_step=lambda *_: None):
    """A run on a tiny dual encoder; every source counts as photographs, which have classes."""
    from dataclasses import replace

    import torch

    from tests.tiny_dual_encoder import tiny_dual_encoder
    from training import train
    from training.corpus import load_corpus

    def photographs(*arguments):
        corpus = load_corpus(*arguments)
        sources = tuple(replace(source, drawn=False) for source in corpus.sources)
        return replace(corpus, sources=sources)

    def load_base(recipe, corpus, *_):
        return tiny_dual_encoder(c for example in corpus.train for c in example.captions)

    def save_weights(towers, folder):
        folder.mkdir()
        torch.save(towers.state_dict(), folder / "weights.pt")

    torch.set_num_threads(1)
    with replaced(
        load_corpus=photographs,
        load_base=load_base,
        save_weights=save_weights,
        write_encoder=lambda *_: None,
    ):
        return train.run(recipe, out, resume=resume, log=lambda line: None, on_step=on_step)


def assert_equal_runs(one: Path, other: Path) -> None:
    import torch

    from training.checkpoint import read_tensors

    first, second = (read_tensors(out / "checkpoint.pt") for out in (one, other))
    for weights, others in (
        (first["moving"], second["moving"]),
        *((read_tensors(best), read_tensors(other / best.name)) for best in one.glob("best*.pt")),
    ):
        assert weights.keys() == others.keys()
        for name, tensor in weights.items():
            assert torch.equal(tensor, others[name]), name
    for mine, theirs in zip(first["history"], second["history"], strict=True):
        assert mine | {"seconds": 0} == theirs | {"seconds": 0}
    for saved in (one / "weights").iterdir():
        assert saved.read_bytes() == (other / "weights" / saved.name).read_bytes(), saved


if __name__ == "__main__":
    data, out, mode, *rest = sys.argv[1:]
    if mode == "stages":
        go_in_stages(staged_recipe(), Path(out), on_step=lambda *_: time.sleep(0.3))
    else:
        recipe, resume = recipe_for(Path(data), mode), "resume" in rest
        go(recipe, Path(out), resume=resume, on_step=lambda *_: time.sleep(0.1))
