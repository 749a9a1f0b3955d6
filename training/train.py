"""A run of training, from a recipe to an encoder folder.

    scenesearch train --recipe task --data FOLDER --out OUT
    python -m training.train --recipe lite --shared ../shared --out OUT --set text_base=FOLDER

OUT/recipe.toml          every value, as it was used
OUT/checkpoint.pt        where --resume goes on; best.pt holds the best weights so far, in a recipe
                         with stages best-STAGE.pt those of each
OUT/metrics.csv          one row for each validation; curves.png shows them
OUT/weights/             to continue from, as --base or in transformers
OUT/encoder/             the encoder folder: --encoder OUT/encoder searches with it
OUT/summary.json         written last: the run is complete, and these are its figures
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenesearch.datasets.task import MARKED
from scenesearch.encoder.onnx import OnnxEncoder
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.metrics import QueryMetrics, score_queries
from scenesearch.search.contrast import measure_calibration, write_calibration
from training import checkpoint, lora, tiny_clip
from training.calibrate import calibrate_encoder, has_judgments
from training.card import write_card
from training.checkpoint import State
from training.corpus import Corpus, EvaluationSet, load_corpus
from training.export import export_towers, save_weights, write_manifest
from training.gate import FEWEST, Validation
from training.learner import (
    Learner,
    Side,
    class_posteriors,
    embed_images,
    embed_texts,
    fingerprint,
    make_learner,
    named_weights,
    set_weights,
)
from training.loop import OnStep, Schedule, best_file, swapped, train_stage, wise_ft
from training.measure import calibrate_and_score
from training.parallel import pick_devices
from training.recipe import FROM_BASES, Recipe, TrainingError, differences, load_recipe
from training.towers import check_bases, load_towers, towers_from_bases
from training.two_towers import Towers

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
    """Runs a recipe, by name or path, and returns its summary. The command line calls this.

    Raises TrainingError, or another SceneSearchError, with a message of one sentence.
    """
    recipe = load_recipe(recipe_name, overrides, base=base, evaluate_on=tuple(evaluate_on))
    if recipe.base == FROM_BASES:
        # Its data, bases and benchmarks are named within one folder.
        if len(data) != 1:
            raise TrainingError(
                f"recipe {recipe.name} takes one --data: the folder with data/ and models/"
            )
        recipe = recipe.inside(Path(data[0]))
        check_bases(recipe)
    elif data:
        recipe = replace(recipe, data=tuple(data))
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
    """A run from its recipe to `OUT/summary.json`; without a checkpoint it leaves no folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", recipe.name):
        raise TrainingError(f"name {recipe.name!r}: letters, digits, '.', '_', '-', at most 64")
    summary_file, recipe_file = out / "summary.json", out / "recipe.toml"
    if out.exists() and not out.is_dir():
        raise TrainingError(f"--out {out} is a file")
    if recipe_file.exists() and not resume:
        raise TrainingError(f"{out} holds a run; --resume goes on with it, or give another folder")
    if out.exists() and any(out.iterdir()) and not recipe_file.exists():
        raise TrainingError(f"{out} is not empty and no run: give another folder")
    if recipe_file.exists() and (changed := differences(load_recipe(str(recipe_file)), recipe)):
        raise TrainingError(f"{out} holds a run of another recipe: {'; '.join(changed)}")
    new = not out.exists()
    try:
        return _run(recipe, out, summary_file, recipe_file, shelf, log, on_step)
    except Exception as error:
        if new and not (out / checkpoint.NAME).exists():
            shutil.rmtree(out, ignore_errors=True)  # there is nothing in it to go on from
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        # On a CPU torch raises a RuntimeError with these words.
        if full or (isinstance(error, RuntimeError) and "not enough memory" in str(error)):
            raise TrainingError(
                f"out of memory with batch={recipe.batch} and trains={recipe.trains}: try "
                f"--set batch={max(2, recipe.batch // 2)}, or a recipe that trains less "
                "(heads, text, lora)"
            ) from error
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
    identity = {"data": corpus.fingerprint, "base": fingerprint(towers.state_dict())}
    state = checkpoint.load(out) if recipe_file.exists() else None
    if state is not None:
        for what, now in identity.items():
            if state.identity[what] != now:
                raise TrainingError(
                    f"--resume: the {what} has changed since {out} was begun "
                    f"({state.identity[what]}, now {now}); give another folder"
                )
        if summary_file.exists():
            log(f"{out} is complete")
            complete: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
            return complete
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(recipe_file, recipe.to_toml())

    base = _copy(named_weights(towers))
    learner, state, start = train_stages(
        towers, base, recipe, corpus, devices, out, state or State(identity), log, on_step
    )
    alpha, sweep = wise_ft(learner, _changed(start, towers), corpus, log)
    draw_curves(state.history, out / "curves.png")

    moved = _changed(base, towers)
    figures = {
        str(held_back.folder): before_and_after(learner, held_back, moved)
        for held_back in corpus.evaluation
        if held_back.queries
    }
    towers.to("cpu").eval()
    save_weights(towers, out / "weights")
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
    write_encoder(towers, recipe, corpus, summary, out, log)
    checkpoint.write_text(summary_file, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary


def train_stages(
    towers: Towers,
    base: dict[str, Tensor],
    recipe: Recipe,
    corpus: Corpus,
    devices: list[torch.device],
    out: Path,
    state: State,
    log: Log,
    on_step: OnStep,
) -> tuple[Learner, State, dict[str, Tensor]]:
    """Every stage, each from where the one before left the towers.

    For a stage that an interrupted run had completed its best weights are read. Returns the last
    stage's learner and state, and the weights that WiSE-FT starts from.
    """
    start = base
    stages = recipe.in_stages()
    schedules = [Schedule(stage, corpus, number) for number, (_, stage) in enumerate(stages)]
    posteriors = None
    for number, (name, stage) in enumerate(stages):
        learner = make_learner(towers, stage, devices, log)
        if number == 0:
            posteriors = class_posteriors(learner, corpus, out / "cache", log)
        if number < state.stage:
            set_weights(learner, checkpoint.read_tensors(best_file(out, name)))
        else:
            if number > state.stage:
                state = state.begin(number)
            if name:
                log(f"stage {name}")
            schedules[number].after = sum(further.steps for further in schedules[number + 1 :])
            train_stage(
                learner,
                corpus,
                out,
                best_file(out, name),
                schedules[number],
                posteriors,
                state,
                log,
                on_step,
            )
        for tower in (towers.image_tower, towers.text_tower):
            lora.merge(tower)
        if name and name == recipe.wise_ft_from:
            start = _copy(named_weights(towers))
    if len(stages) > 1:
        # WiSE-FT changes weights that the last stage kept frozen, so nothing cached is right.
        learner.image, learner.text = (
            Side(tower, trains_whole=True) for tower in (towers.image_tower, towers.text_tower)
        )
    return learner, state, start


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}


def _changed(start: Mapping[str, Tensor], towers: Towers) -> dict[str, Tensor]:
    """The weights of `start` that training has changed."""
    return {
        name: start[name]
        for name, weight in named_weights(towers).items()
        if not torch.equal(start[name], weight.detach().cpu())
    }


def load_base(recipe: Recipe, corpus: Corpus, out: Path, shelf: Path | None) -> Towers:
    if not recipe.base:
        raise TrainingError("no base to start from: give --base NAME or FOLDER")
    if recipe.base == FROM_BASES:
        return towers_from_bases(recipe)
    base: str | Path = recipe.base
    if recipe.base == tiny_clip.NAME:
        captions = [caption for example in corpus.train for caption in example.captions]
        base = tiny_clip.write_tiny_clip(out / "base", captions, recipe.seed)
    return load_towers(
        base,
        text_base=recipe.text_base or None,
        revision=recipe.revision or None,
        shelf=shelf,
    )


# --- figures ---------------------------------------------------------------------------------


def before_and_after(
    learner: Learner, held_back: EvaluationSet, base: dict[str, Tensor]
) -> dict[str, Any]:
    """Figures of base and result on the same queries, and the gain; intervals over pictures."""
    weights = named_weights(learner.towers)
    after = score(learner, held_back)
    with swapped([weights[name] for name in base], [base[name].clone() for name in base]):
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

    matplotlib.use("Agg")  # needs no display
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


def write_encoder(
    towers: Towers, recipe: Recipe, corpus: Corpus, summary: dict[str, Any], out: Path, log: Log
) -> None:
    """Exports to `OUT/encoder`, calibrates it and writes its card."""
    partial, folder = out / "encoder.partial", out / "encoder"
    export_towers(
        towers,
        partial,
        name=recipe.name,
        precision=storage_precision(recipe, corpus, log),
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
    if recipe.benchmarks:
        calibrate_and_score(partial, Path(recipe.benchmarks), log)
    else:
        calibrate(partial, recipe, corpus, log, base=towers.calibration)
    write_card(partial, {**summary, "sources": [Path(given).name for given in recipe.data]})
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    log(f"encoder in {folder}")


def storage_precision(recipe: Recipe, corpus: Corpus, log: Log) -> str:
    """The recipe's precision, or fp16 where too few pictures are held back to accept int8."""
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
    log: Log,
    *,
    base: Mapping[str, Any] | None = None,
) -> None:
    """Relevance from judgments, of the first source that has any, or else from captions.

    On pictures held back from training where there are enough: on pictures it was trained on, an
    encoder is surer than it will be on others.

    Marks of hits are no judgments to calibrate on: a search chose them because they looked right.
    Where there are no others, the calibration of the `base` is kept. 256 marks moved `lite` so
    little that it was as good as before (ECE of 47,830 crowd pairs .004, before .008; 11 % of 186
    absent things found at a relevance of 20 %, as before); fitted on the marks it was .059 and
    82 %, on the marked pictures' captions .052 and 31 %.
    """
    sources = [source.place for source in corpus.sources]
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
    measured = measure_calibration(OnnxEncoder(encoder))
    write_calibration(encoder, measured)
    log(f"no judgments to calibrate on: relevance measured against {measured['fitted_on']}")


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


def git_commit() -> str:
    """The commit checked out, with `-dirty` when the code has changed since."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    command += ["--dirty", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory: every step frees and allocates the same hundreds of MB, and
    giving the pages back each time made the trunk's forward pass take 1.2 CPU seconds, not 0.8.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(-4, 0)  # M_MMAP_MAX
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    mallopt(-2, 2**28)  # M_TOP_PAD


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the bundled encoder; an interrupted run goes on by itself."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=main.__doc__)
    parser.add_argument("--recipe", default="lite", help="bundled recipe or a .toml file [lite]")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="data and bases")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def log(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", file=sys.stderr, flush=True)

    def on_step(done: int, total: int, loss: float) -> None:
        if done % 10 == 0:
            log(f"step {done}/{total} loss {loss:.3f}")

    keep_freed_memory()
    try:
        train(
            options.recipe,
            out=options.out,
            data=[str(options.shared)],
            overrides=options.overrides,
            resume=True,
            log=log,
            on_step=on_step,
        )
    except SceneSearchError as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
