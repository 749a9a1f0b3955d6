"""The training loop: one stage of a recipe, from its first step to its best weights.

Set the rates, draw a batch, step, validate, keep the best, save. Recall on the validation pictures
decides which step's weights are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from training import checkpoint
from training.batches import choose_classes, choose_texts, class_prompts, epoch_batches
from training.checkpoint import State
from training.corpus import Corpus, Example
from training.learner import (
    Learner,
    embed_images,
    embed_texts,
    image_embeddings,
    named_weights,
    prepare,
    set_weights,
    text_embeddings,
    weights_of,
)
from training.losses import contrastive_loss, judgment_loss, prototype_loss, soft_target_loss
from training.model import MAX_LOGIT_SCALE, ImageTower
from training.recipe import Recipe, TrainingError

Log = Callable[[str], None]
OnStep = Callable[[int, int, float], None]  # steps done, of how many, loss
_STEP = 3  # names the stream of random numbers of a step


def train_stage(
    learner: Learner,
    corpus: Corpus,
    out: Path,
    best: Path,
    schedule: Schedule,
    posteriors: np.ndarray | None,
    state: State,
    log: Log,
    on_step: OnStep,
) -> None:
    """Trains from `state` to the stage's end; then the towers have its best weights, as `best`.

    Raises TrainingError when the loss is not a number; the last checkpoint stays as it was.
    """
    recipe, trained = learner.recipe, list(learner.trained.values())
    prepare(learner, corpus, out / "cache", log)
    per_epoch, steps = schedule.per_epoch, schedule.steps
    first, last = state.began, state.began + steps
    validate_every = recipe.validate_every or per_epoch
    warmup = max(1, round(recipe.warmup_share * steps))
    optimizer = torch.optim.AdamW(parameter_groups(learner), betas=(0.9, 0.98))
    rates = [group["lr"] for group in optimizer.param_groups]
    average = [p.detach().clone() for p in trained]
    if state.step > first:
        set_weights(learner, state.moving)
        optimizer.load_state_dict(dict(state.optimizer))
        for value, saved in zip(average, state.average, strict=True):
            value.copy_(saved)
        log(f"going on from step {state.step} of {last}")
    batches: list[np.ndarray] = []
    began, before = time.monotonic(), state.seconds
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        while state.step < last and not state.stopped:
            done = state.step - first
            epoch, place = divmod(done, per_epoch)
            if not batches or place == 0:
                batches = schedule.batches(epoch)
            rng = np.random.default_rng((recipe.seed, _STEP, state.step))
            torch.manual_seed(int(rng.integers(2**62)))  # dropout
            factor = min(1.0, (done + 1) / warmup)
            factor *= 0.5 * (1 + math.cos(math.pi * done / steps))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

            learner.train_mode()
            loss, parts = batch_loss(learner, corpus, batches[place], posteriors, rng, pool)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(trained, recipe.clip_gradients)
            if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
                raise TrainingError(
                    f"the loss is {loss.item():g} at step {state.step + 1} "
                    f"(gradient {norm.item():g}): "
                    "start again with lower learning rates, lr_heads, lr_text and lr_image"
                )
            optimizer.step()
            with torch.no_grad():
                # A larger scale makes the loss forget all but the nearest negatives.
                learner.towers.log_logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))
                decay = min(recipe.ema_decay, (done + 1) / (done + 11))
                for value, parameter in zip(average, trained, strict=True):
                    value.lerp_(parameter, 1 - decay)
            state.losses.append(loss.item())
            state.step += 1
            on_step(state.step, last + schedule.after, loss.item())

            validates = (done + 1) % validate_every == 0 or state.step == last
            if validates:
                with swapped(trained, average):  # without EMA the average is the weights themselves
                    recalls = validate(learner, corpus)
                    score = selection(recalls)
                    if score > state.best_score:
                        state.best_score, state.best_step, state.stale = score, state.step, 0
                        checkpoint.write_tensors(weights_of(learner), best)
                    else:
                        state.stale += 1
                state.stopped = bool(recipe.patience) and state.stale >= recipe.patience
                row: dict[str, Any] = {
                    "step": state.step,
                    "epoch": round((done + 1) / per_epoch, 3),
                    "loss": float(np.mean(state.losses)),
                    **parts,
                    "lr_factor": factor,
                    "logit_scale": learner.towers.logit_scale.item(),
                    **recalls,
                    "selection": score,
                    "seconds": before + time.monotonic() - began,
                }
                state.history.append(row)
                state.losses = []
                log(f"step {state.step}/{last} loss {row['loss']:.3f} {described(recalls)}")
            if validates or state.step % recipe.checkpoint_every == 0:
                state.moving, state.average = weights_of(learner), [v.cpu() for v in average]
                state.optimizer = optimizer.state_dict()
                state.seconds = before + time.monotonic() - began
                checkpoint.save(state, out)
                write_metrics(state.history, out / "metrics.csv")
    if state.stopped:
        log(f"no better for {recipe.patience} validations: stopped at step {state.step}")
    set_weights(learner, checkpoint.read_tensors(best))
    learner.towers.eval()


def best_file(out: Path, stage: str) -> Path:
    """Where the best weights of a stage are kept."""
    return out / (f"best-{stage}.pt" if stage else "best.pt")


class Schedule:
    """The batches of each epoch of stage `number`, and how many steps it has."""

    def __init__(self, recipe: Recipe, corpus: Corpus, number: int) -> None:
        self._rows_of = [
            np.array([n for n, e in enumerate(corpus.train) if e.source == source], np.int64)
            for source in range(len(corpus.sources))
        ]
        self._weights = [source.weight for source in corpus.sources]
        self._batch = recipe.batch
        self._seed = recipe.seed + number  # every stage has an order of its own
        self.per_epoch = len(self.batches(0))
        steps = recipe.epochs * self.per_epoch
        self.steps = min(steps, recipe.max_steps or steps)
        self.after = 0  # steps of the stages after it

    def batches(self, epoch: int) -> list[np.ndarray]:
        return epoch_batches(self._rows_of, self._weights, self._batch, self._seed, epoch)


def parameter_groups(learner: Learner) -> list[dict[str, Any]]:
    """One group for each rate and kind; biases, norms and scalars are not decayed."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in learner.trained.items():
        decay = learner.recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((learner.rates[name], decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


@contextmanager
def swapped(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> Iterator[None]:
    """The parameters with other values, such as their running average, for the block."""

    @torch.no_grad()
    def swap() -> None:
        for parameter, value in zip(parameters, values, strict=True):
            old = parameter.clone()
            parameter.copy_(value)
            value.copy_(old)

    swap()
    try:
        yield
    finally:
        swap()


# --- the loss --------------------------------------------------------------------------------


def batch_loss(
    learner: Learner,
    corpus: Corpus,
    rows: np.ndarray,
    posteriors: np.ndarray | None,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch and its parts by name."""
    recipe, device = learner.recipe, learner.device
    batch = [corpus.train[row] for row in rows]
    with learner.computing():
        images, mirrored = image_embeddings(learner, corpus, rows, rng, pool)
    chosen = choose_texts(batch, mirrored, recipe, rng)
    with learner.computing(texts=True):
        texts = text_embeddings(learner, chosen.texts, recipe.word_dropout, rng)
    images, texts = normalize(images.float(), dim=1), normalize(texts.float(), dim=1)
    targets, weights = chosen.targets.to(device), chosen.negative_weights.to(device)
    loss = contrastive_loss(images, texts, targets, weights, learner.towers.logit_scale)
    parts = {"contrastive": loss.item()}
    if recipe.judgment_weight:
        judged = chosen.votes > 0
        cosines = (images @ texts.T)[judged.to(device)]  # (judged pairs,)
        shares, votes = (m[judged].to(device) for m in (chosen.shares, chosen.votes))
        judgment = judgment_loss(cosines, shares, votes, learner.slope, learner.intercept)
        loss = loss + recipe.judgment_weight * judgment
        parts["judgment"] = judgment.item()
    # The image base was trained on photographs; its classes do not fit drawings.
    if posteriors is not None and not corpus.sources[batch[0].source].drawn:
        classes = class_loss(learner, images, posteriors[rows], rng)
        loss = loss + classes
        parts["classes"] = classes.item()
    return loss, parts


def class_loss(
    learner: Learner, images: Tensor, posteriors: np.ndarray, rng: np.random.Generator
) -> Tensor:
    """Keeps what the image base knew: the names of its classes match the pictures it saw them in,
    and each class's weight vector, taken as a picture, matches the class's name."""
    recipe, towers, device = learner.recipe, learner.towers, learner.device
    if towers.classifier is None or not isinstance(towers.image_tower, ImageTower):
        raise ValueError("class posteriors without the classifier they are from")
    classes, targets = choose_classes(posteriors, recipe.classes_per_step, rng)
    names = [class_prompts(towers.classifier.labels[c]) for c in classes]
    prompts = [some[rng.integers(len(some))] for some in names]
    scale = towers.logit_scale
    with learner.computing(texts=True):
        labels = normalize(text_embeddings(learner, prompts, 0.0, rng).float(), dim=1)
    with learner.computing():
        # A weight vector is the picture its class is nearest to: a grid of one cell.
        cells = towers.classifier.weight[torch.from_numpy(classes)][:, None].to(device)
        prototypes = normalize(towers.image_tower.embed_cells(cells).float(), dim=1)
    logits = scale * images @ labels.T  # (images, classes)
    distilled = soft_target_loss(logits, targets.to(device))
    named = prototype_loss(prototypes, labels, scale)
    return recipe.class_weight * distilled + recipe.prototype_weight * named


# --- validation ------------------------------------------------------------------------------


def validate(learner: Learner, corpus: Corpus) -> dict[str, float]:
    """Text-to-image recall in percent among the validation pictures.

    Each list of a source with lists is a gallery; so are all other photographs, and all drawings.
    Where there are several, their mean comes first: a large one counts no more than a small one.
    """
    galleries: dict[str, list[Example]] = {}
    for example in corpus.validation:
        kind = "drawings" if corpus.sources[example.source].drawn else "photographs"
        galleries.setdefault(example.gallery or kind, []).append(example)
    found = {name: recall_at(ranks_in(learner, some)) for name, some in galleries.items()}
    recalls = {key: mean(own[key] for own in found.values()) for key in ("R@1", "R@5", "R@10")}
    if len(found) > 1:
        for name, own in found.items():
            recalls |= {f"{key} of {name}": value for key, value in own.items()}
    return recalls


def ranks_in(learner: Learner, gallery: Sequence[Example]) -> Tensor:
    """The rank of its own picture for each caption of the gallery."""
    texts = [caption for example in gallery for caption in example.captions]
    owners = torch.tensor([n for n, example in enumerate(gallery) for _ in example.captions])
    images = embed_images(learner, [example.path for example in gallery])
    return rank_of(embed_texts(learner, texts) @ images.T, owners)


def rank_of(similarity: Tensor, owners: Tensor) -> Tensor:
    """The rank of each text's own picture, from 1; ties count against it. Texts are rows."""
    own = similarity.gather(1, owners[:, None])  # (texts, 1)
    return (similarity >= own).sum(dim=1)


def recall_at(ranks: Tensor) -> dict[str, float]:
    """Percent of texts whose own picture is among the first 1, 5 and 10."""
    return {f"R@{k}": 100 * (ranks <= k).double().mean().item() for k in (1, 5, 10)}


def selection(recalls: Mapping[str, float]) -> float:
    """The mean of Recall@1, 5 and 10, by which steps are chosen; one of them is too coarse."""
    return sum(recalls[f"R@{k}"] for k in (1, 5, 10)) / 3


def described(recalls: Mapping[str, float]) -> str:
    return " ".join(f"{key} {value:.1f}" for key, value in recalls.items())


def wise_ft(
    learner: Learner, start: Mapping[str, Tensor], corpus: Corpus, log: Log
) -> tuple[float, list[dict[str, float]]]:
    """Sets the point between base and fine-tuned weights with the best recall; (alpha, the sweep).

    Of equal ones the nearest to the base wins: it keeps more of what the base knew.
    Source: Wortsman et al. (2022), Robust fine-tuning of zero-shot models.
    """
    weights = {n: p for n, p in named_weights(learner.towers).items() if n in start}
    end = {name: p.detach().clone() for name, p in weights.items()}
    sweep: list[dict[str, float]] = []

    @torch.no_grad()
    def interpolate(alpha: float) -> None:
        for name, parameter in weights.items():
            parameter.copy_(torch.lerp(start[name].to(parameter), end[name], alpha))

    for alpha in sorted(set(learner.recipe.wise_ft)):
        interpolate(alpha)
        recalls = validate(learner, corpus)
        sweep.append({"alpha": alpha, **recalls, "selection": selection(recalls)})
        log(f"wise-ft {alpha:.2f}: {described(recalls)}")
    best = max(sweep, key=lambda row: (row["selection"], -row["alpha"]))["alpha"]
    interpolate(best)
    return best, sweep


def write_metrics(history: Sequence[dict[str, Any]], path: Path) -> None:
    columns = list(dict.fromkeys(key for row in history for key in row))
    lines = [",".join(columns)]
    lines += [
        ",".join(f"{row[key]:.6g}" if key in row else "" for key in columns) for row in history
    ]
    checkpoint.write_text(path, "\n".join(lines) + "\n")
