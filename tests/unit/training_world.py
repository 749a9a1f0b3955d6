"""A folder in the task's format whose pictures are plain colours, and a run on tiny towers.

    python -m tests.unit.training_world DATA OUT MODE [resume]

does one run; the resume test kills it.
"""

import sys
import time
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


def go(recipe, out: Path, *, resume: bool = False, pause_s: float = 0.0, lines=None):
    """One run on tiny towers, without an export: that is tested where it lives."""
    import torch

    from tests.tiny_towers import TinyTowers
    from training import run

    torch.set_num_threads(1)
    run.load_base = lambda *_: TinyTowers()
    run.hand_over = lambda *_: None
    log = (lambda line: None) if lines is None else lines.append
    return run.run(recipe, out, resume=resume, log=log, on_step=lambda *_: time.sleep(pause_s))


if __name__ == "__main__":
    data, out, mode, *rest = sys.argv[1:]
    go(recipe_for(Path(data), mode), Path(out), resume="resume" in rest, pause_s=0.1)
