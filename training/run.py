"""A whole run of `scenesearch train`: data, base, fine-tuning, and what it leaves in its folder.

scenesearch train --recipe task --data FOLDER --out OUT

OUT/recipe.toml          every choice, resolved
OUT/checkpoint.pt        where --resume goes on from; best.pt holds the best weights so far
OUT/metrics.csv          one row for each validation; curves.png shows them
OUT/weights/             to continue from, as --base or in transformers
OUT/encoder/             the encoder folder: --encoder OUT/encoder searches with it
OUT/summary.json         written last: the run is complete, and this is what it found
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scenesearch.datasets.task import MARKED
from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.metrics import QueryMetrics, score_queries
from training import checkpoint, lora
from training.datasets import (
    DRAWN,
    Corpus,
    EvaluationSet,
    draw,
    load_corpus,
    parse_source,
)
from training.finetune import (
    Learner,
    OnStep,
    embed_images,
    embed_texts,
    fine_tune,
    make_learner,
    named_weights,
    wise_ft,
)
from training.parallel import pick_devices
from training.recipe import Recipe, TrainingError, differences, load_recipe, read_saved
from training.train import git_commit

if TYPE_CHECKING:
    from training.towers import Towers

Log = Callable[[str], None]
MADE_BY = ("scenesearch", "torch", "transformers", "tokenizers", "numpy", "onnx", "onnxruntime")
FACTS = (  # of the summary, kept in encoder.json
    "recipe",
    "seed",
    "data_fingerprint",
    "base_fingerprint",
    "git_commit",
    "device",
    "duration_s",
    "steps",
    "best_step",
    "wise_ft",
)
REPORTED = ("recall@1", "recall@5", "recall@10", "mrr")


def train(
    recipe_name: str,
    *,
    out: Path,
    data: Sequence[str] = (),
    base: str | None = None,
    evaluate_on: Sequence[str] = (),
    overrides: Sequence[str] = (),
    resume: bool = False,
    shelf: Path | None = None,
    log: Log,
    on_step: OnStep,
) -> dict[str, Any]:
    """Runs a recipe, by name or path, and returns its summary. What the command line calls.

    Raises TrainingError, or another SceneSearchError, in one sentence.
    """
    if recipe_name == "lite":
        return _train_lite(out, data, overrides, log)
    recipe = load_recipe(
        recipe_name, overrides, data=tuple(data), base=base, evaluate_on=tuple(evaluate_on)
    )
    return run(recipe, out, resume=resume, shelf=shelf, log=log, on_step=on_step)


def run(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool,
    shelf: Path | None = None,
    log: Log,
    on_step: OnStep,
) -> dict[str, Any]:
    """Everything from the recipe to `OUT/summary.json`; a folder that got nowhere is removed."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", recipe.name):
        raise TrainingError(f"name {recipe.name!r}: letters, digits, '.', '_', '-', at most 64")
    summary_file, recipe_file = out / "summary.json", out / "recipe.toml"
    if out.exists() and not out.is_dir():
        raise TrainingError(f"--out {out} is a file")
    if recipe_file.exists() and not resume:
        raise TrainingError(f"{out} holds a run; --resume goes on with it, or give another folder")
    if out.exists() and any(out.iterdir()) and not recipe_file.exists():
        raise TrainingError(f"{out} is not empty and no run: give another folder")
    if recipe_file.exists() and (changed := differences(read_saved(recipe_file), recipe)):
        raise TrainingError(f"{out} holds a run of another recipe: {'; '.join(changed)}")
    new = not out.exists()
    try:
        return _run(recipe, out, summary_file, recipe_file, shelf, log, on_step)
    except (torch.OutOfMemoryError, MemoryError) as error:
        _clear(out, new)
        raise TrainingError(_out_of_memory(recipe)) from error
    except RuntimeError as error:
        if "not enough memory" not in str(error):  # torch's words on a CPU
            raise
        _clear(out, new)
        raise TrainingError(_out_of_memory(recipe)) from error
    except Exception:
        _clear(out, new)
        raise


def _run(
    recipe: Recipe,
    out: Path,
    summary_file: Path,
    recipe_file: Path,
    shelf: Path | None,
    log: Log,
    on_step: OnStep,
) -> dict[str, Any]:
    devices = pick_devices()
    corpus = load_corpus(recipe, out / "cache", log)
    log(
        f"{len(corpus.train)} pictures to train on, {len(corpus.validation)} to select by, "
        f"{corpus.judged_pairs} judged pairs"
    )
    towers = load_base(recipe, corpus, out, shelf)
    identity = {"data": corpus.fingerprint, "base": weights_fingerprint(towers)}
    state = checkpoint.load(out) if recipe_file.exists() else None
    if state is not None:
        for what, now in identity.items():
            if state.identity[what] != now:
                raise TrainingError(
                    f"--resume: the {what} has changed since {out} was begun "
                    f"({state.identity[what]}, now {now}); give another folder"
                )
    if state is not None and summary_file.exists():
        log(f"{out} is complete")
        complete: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
        return complete
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(recipe_file, recipe.to_toml())

    start = {name: p.detach().cpu().clone() for name, p in named_weights(towers).items()}
    learner = make_learner(towers, recipe, devices, log)
    changed = {name.replace(".parametrizations.weight.original", ".weight") for name in start}
    state = fine_tune(learner, corpus, out, identity, state, log, on_step)
    for tower in (towers.image_tower, towers.text_tower):
        lora.merge(tower)
    moved = {
        name: start[name]
        for name, parameter in named_weights(towers).items()
        if name in changed and not torch.equal(start[name], parameter.detach().cpu())
    }
    alpha, sweep = wise_ft(learner, moved, corpus.validation, log)
    draw_curves(state.history, out / "curves.png")

    figures = {
        str(held_back.folder): before_and_after(learner, held_back, moved)
        for held_back in corpus.evaluation
        if held_back.queries
    }
    towers.to("cpu").eval()
    towers.save(out / "weights")
    summary = {
        "name": recipe.name,
        "base": recipe.base,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "data_fingerprint": corpus.fingerprint,
        "base_fingerprint": identity["base"],
        "git_commit": git_commit(),
        "device": device_name(devices),
        "duration_s": round(state.seconds, 1),
        "steps": state.step,
        "best_step": state.best_step,
        "wise_ft": alpha,
        "versions": versions(),
        "pictures": {"train": len(corpus.train), "validation": len(corpus.validation)},
        "judged_pairs": corpus.judged_pairs,
        "validation": {"best": state.best_score, "wise_ft": sweep},
        "evaluation": figures,
        "encoder": str(out / "encoder"),
    }
    hand_over(towers, recipe, corpus, summary, out, log)
    checkpoint.write_text(summary_file, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


# --- the base --------------------------------------------------------------------------------


def load_base(recipe: Recipe, corpus: Corpus, out: Path, shelf: Path | None) -> Towers:
    from training.towers import load_towers

    if not recipe.base:
        raise TrainingError("no base to start from: give --base NAME or FOLDER")
    base: str | Path = recipe.base
    from training import tiny_clip

    if recipe.base == tiny_clip.NAME:
        captions = [caption for example in corpus.train for caption in example.captions]
        base = tiny_clip.write_tiny_clip(out / "base", captions, recipe.seed)
    return load_towers(
        base,
        text_base=recipe.text_base or None,
        revision=recipe.revision or None,
        shelf=shelf,
    )


def weights_fingerprint(towers: Towers) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(towers.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


# --- what a run found ------------------------------------------------------------------------


@contextmanager
def holding(towers: Towers, weights: dict[str, Tensor]) -> Iterator[None]:
    """The towers with other weights for the length of the block."""
    parameters = {name: p for name, p in named_weights(towers).items() if name in weights}
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept[name])


def before_and_after(
    learner: Learner, held_back: EvaluationSet, base: dict[str, Tensor]
) -> dict[str, Any]:
    """Figures of base and result on the same queries, and the gain; intervals over pictures."""
    after = score(learner, held_back)
    with holding(learner.towers, base):
        before = score(learner, held_back)
    gain = QueryMetrics(
        after.query_ids,
        after.groups,
        {name: after.per_query[name] - before.per_query[name] for name in after.per_query},
        after.first_rank - before.first_rank,
    )
    return {
        "gallery": len(held_back.images),
        "queries": len(held_back.queries),
        "before": _figures(before),
        "after": _figures(after),
        "gain": _figures(gain),
    }


def score(learner: Learner, held_back: EvaluationSet) -> QueryMetrics:
    names = sorted(held_back.images)
    images = embed_images(learner, [held_back.images[name] for name in names])
    texts = embed_texts(learner, [query.query_text for query in held_back.queries])
    similarity = (texts @ images.T).numpy()
    return score_queries(
        {query.query_id: {query.image: 1} for query in held_back.queries},
        {
            query.query_id: dict(zip(names, row.tolist(), strict=True))
            for query, row in zip(held_back.queries, similarity, strict=True)
        },
    )


def _figures(scores: QueryMetrics) -> dict[str, Any]:
    """Percent, with the 95 % interval."""
    means, intervals = scores.means(), bootstrap_ci95(scores)
    return {
        name: [round(100 * value, 1) for value in (means[name], *intervals[name])]
        for name in REPORTED
    }


def draw_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")  # no window, whatever the machine
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    steps = [row["step"] for row in history]
    for key in ("loss", "contrastive", "judgment"):
        if any(key in row for row in history):
            left.plot(steps, [row.get(key, math.nan) for row in history], marker=".", label=key)
    for key in ("R@1", "R@5", "R@10"):
        right.plot(steps, [row[key] for row in history], marker=".", label=key)
    left.set(xlabel="step", ylabel="training loss")
    right.set(xlabel="step", ylabel="validation recall, text to image, %", ylim=(0, 100))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    partial = path.with_name(f"{path.stem}.partial.png")
    figure.savefig(partial, dpi=120)
    pyplot.close(figure)
    partial.replace(path)


def hand_over(
    towers: Towers, recipe: Recipe, corpus: Corpus, summary: dict[str, Any], out: Path, log: Log
) -> None:
    """Exports to `OUT/encoder`, calibrates it and writes its card."""
    from training.card import write_card
    from training.export import export_towers
    from training.gate import Validation

    partial, folder = out / "encoder.partial", out / "encoder"
    export_towers(
        towers,
        partial,
        name=recipe.name,
        precision=storable(recipe, corpus, log),
        validation=Validation(
            tuple(example.path for example in corpus.validation),
            tuple(example.captions for example in corpus.validation),
        ),
        facts={
            "parent": towers.parent,
            "training": {key: summary[key] for key in FACTS},
            "scores": {
                Path(place).name: {
                    "gallery": found["gallery"],
                    "queries": found["queries"],
                    **{metric: values[0] for metric, values in found["after"].items()},
                    "ci95": {metric: values[1:] for metric, values in found["after"].items()},
                }
                for place, found in summary["evaluation"].items()
            },
        },
    )
    calibrate(partial, recipe, corpus, out, log, base=towers.calibration)
    write_card(partial, {**summary, "sources": [Path(given).name for given in recipe.data]})
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    log(f"encoder in {folder}")


def storable(recipe: Recipe, corpus: Corpus, log: Log) -> str:
    """The recipe's precision, or fp16 where too few pictures are held back to accept int8."""
    from training.gate import FEWEST

    if recipe.precision != "int8" or len(corpus.validation) >= FEWEST:
        return recipe.precision
    log(
        f"weights are stored in fp16: int8 is accepted by {FEWEST} pictures held back from "
        f"training, and there are {len(corpus.validation)}"
    )
    return "fp16"


def calibrate(
    encoder: Path,
    recipe: Recipe,
    corpus: Corpus,
    out: Path,
    log: Log,
    *,
    base: Mapping[str, Any] | None = None,
) -> None:
    """Relevance from judgments, of the first source that has any, or else from captions.

    On pictures held back from training where they suffice: on those it was trained on, an encoder
    is surer than it will be of a stranger's.

    Marks of hits are no judgments to calibrate on: a search chose them for looking right. Where
    there are no others, the calibration of the `base` is kept. 256 marks moved `lite` so little
    that it was as good as before (ECE of 47,830 crowd pairs .004, before .008; 11 % of 186 absent
    things found at a relevance of 20 %, as before); fitted on the marks .059 and 82 %, on the
    marked pictures' captions .052 and 31 %.
    """
    from training.calibrate import calibrate_encoder, has_judgments
    from training.export import write_manifest
    from training.gate import FEWEST

    sources: list[Path] = []
    for given in recipe.data:
        place, _ = parse_source(given)
        drawn = DRAWN.fullmatch(place)
        sources.append(draw(int(drawn[1]), out / "cache") if drawn else Path(place).expanduser())
    judged = [source for source in sources if has_judgments(source)]
    if base and not judged and any((source / MARKED).is_file() for source in sources):
        manifest = json.loads((encoder / "encoder.json").read_text(encoding="utf-8"))
        fitted_on = f"{base.get('fitted_on', 'judgments')}, with the vectors of the base"
        write_manifest(encoder, manifest | {"calibration": {**base, "fitted_on": fitted_on}})
        log("relevance is calibrated as the base's: a search chose the hits that were marked")
        return
    captions = Path(recipe.captions).expanduser() if recipe.captions else None
    known = [caption for example in corpus.train for caption in example.captions]
    unseen = None
    if recipe.select_on == "validation" and len(corpus.validation) >= FEWEST:
        unseen = {example.path.resolve() for example in corpus.validation}
    for held_back in (unseen, None) if unseen else (None,):
        for source in judged or sources:
            try:
                calibrate_encoder(
                    encoder, source, log, captions=captions, held_back=held_back, known=known
                )
            except TrainingError as error:
                log(f"not calibrated on {source}{' (held back)' if held_back else ''}: {error}")
            else:
                return
    log(
        "the encoder has no calibration: its relevance is a guess; see scenesearch models calibrate"
    )


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in MADE_BY:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # not needed by every base
            continue
    return found


def device_name(devices: Sequence[torch.device]) -> str:
    if devices[0].type == "cuda":
        name = torch.cuda.get_device_name(devices[0])
        return f"{len(devices)} x {name}" if len(devices) > 1 else name
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


# --- what can go wrong -----------------------------------------------------------------------


def _clear(out: Path, new: bool) -> None:
    """A folder made by a run that never reached a checkpoint is of no use to anybody."""
    if new and not (out / checkpoint.NAME).exists():
        shutil.rmtree(out, ignore_errors=True)


def _out_of_memory(recipe: Recipe) -> str:
    smaller = max(2, recipe.batch // 2)
    return (
        f"out of memory with batch={recipe.batch} and trains={recipe.trains}: try "
        f"--set batch={smaller}, or a recipe that trains less (heads, text, lora)"
    )


def _train_lite(
    out: Path, data: Sequence[str], overrides: Sequence[str], log: Log
) -> dict[str, Any]:
    """The bundled encoder's own pipeline, from ImageNet and MiniLM; `data` is the shared folder."""
    from training import config
    from training.train import build

    if len(data) != 1:
        raise TrainingError("recipe lite takes one --data: the folder with data/ and models/")
    try:
        folder = build(config.load_recipe("lite", overrides), Path(data[0]), out, log)
    except (ValueError, FileNotFoundError) as error:
        raise TrainingError(str(error)) from error
    manifest: dict[str, Any] = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    return {"name": "lite", "encoder": str(folder), **manifest["training"]}
