"""Fine-tunes a pair of towers on captions and judgments: the loop, from first step to best weights.

Set the rates, draw a batch, step, validate, keep the best, save. What does not move is computed
once: below the first weight that trains, a tower's features are cached for the whole picture and a
few random views of it. Recall on the validation pictures decides which step's weights are kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from training import checkpoint, lora
from training.checkpoint import State
from training.data import View, drop_words, mirror_words, pad, tokenize
from training.datasets import Corpus, Example, spelled
from training.frozen import FeatureCache, find_head
from training.losses import judged_contrastive_loss, judgment_loss
from training.parallel import spread
from training.pixels import load_batch, random_box
from training.recipe import Recipe, TrainingError
from training.train import recall_at, swapped

if TYPE_CHECKING:
    from training.towers import Towers

Log = Callable[[str], None]
OnStep = Callable[[int, int, float], None]  # steps done, of how many, loss
BEST = "best.pt"
# Streams of random numbers: (seed, stream, n) names one generator.
VIEWS, ORDER, STEP = 1, 2, 3
TEXTS_AT_ONCE, IMAGES_AT_ONCE = 64, 32


@dataclass
class Learner:
    """Towers on a device, with what moves in them and what of them is cached."""

    towers: Towers
    recipe: Recipe
    devices: list[torch.device]  # the towers lie on the first
    moving: dict[str, nn.Parameter]
    rates: dict[str, float]  # of each moving parameter
    image_moves: bool  # below the cache there is something that trains
    text_moves: bool
    image_head: nn.Module | None  # what is above the image cache; None: the cache holds embeddings
    text_head: nn.Module | None
    # P(relevant) = sigmoid(slope * cosine + intercept) of the judgments; not part of the encoder
    slope: nn.Parameter
    intercept: nn.Parameter
    image_cache: FeatureCache | None = None
    text_memo: dict[str, Tensor] = field(default_factory=dict)
    picture_memo: dict[Path, Tensor] = field(default_factory=dict)  # of whole pictures

    @property
    def device(self) -> torch.device:
        return self.devices[0]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """bfloat16 where there is a GPU; on a CPU without AMX it is slower than float32."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            yield

    def train_mode(self, on: bool) -> None:
        """Dropout only in what moves; running statistics of a batch norm never move."""
        self.towers.eval()
        if not on:
            return
        for moves, tower, head in (
            (self.image_moves, self.towers.image_tower, self.image_head),
            (self.text_moves, self.towers.text_tower, self.text_head),
        ):
            part = tower if moves else head
            if part is not None:
                part.train()
                for module in part.modules():
                    if isinstance(module, nn.modules.batchnorm._BatchNorm):
                        module.eval()


def make_learner(towers: Towers, recipe: Recipe, devices: list[torch.device], log: Log) -> Learner:
    """Freezes what the recipe keeps, finds what can be cached, and names every moving weight."""
    device = devices[0]
    towers.to(device).eval()
    torch.manual_seed(recipe.seed)
    heads = {id(p) for p in towers.parts()["heads"]}
    for parameter in named_weights(towers).values():
        parameter.requires_grad_(False)
    trains = recipe.trains
    adapted: list[nn.Parameter] = []
    if trains == "lora":
        for tower in (towers.image_tower, towers.text_tower):
            adapted += lora.adapt(tower, recipe.lora_rank)
        if not adapted:
            raise TrainingError(f"{towers.name} has no attention layer that LoRA could adapt")
    whole_image, whole_text = trains in ("image", "both"), trains in ("text", "both")
    heads_of_image, heads_of_text = (
        trains not in ("text",),
        trains not in ("image",),
    )
    adapted_ids = {id(p) for p in adapted}
    moving: dict[str, nn.Parameter] = {}
    rates: dict[str, float] = {}
    for name, parameter in named_weights(towers).items():
        in_image = name.startswith("image_tower.")
        in_text = name.startswith("text_tower.")
        if name == "log_logit_scale":
            moves, rate = True, recipe.lr_heads
        elif id(parameter) in adapted_ids:
            moves, rate = True, recipe.lr_image if in_image else recipe.lr_text
        elif id(parameter) in heads:
            moves = (in_image and heads_of_image) or (in_text and heads_of_text)
            rate = recipe.lr_heads
        else:
            moves = (in_image and whole_image) or (in_text and whole_text)
            rate = recipe.lr_image if in_image else recipe.lr_text
        if moves and rate > 0:
            moving[name], rates[name] = parameter, rate
    ids = {id(p) for p in moving.values()}
    sides = {}
    example = torch.zeros(1, 3, *towers.preprocessing.image_size, device=device)
    tokens = torch.ones(1, 4, dtype=torch.int64, device=device)
    for side, tower, inputs in (
        ("image", towers.image_tower, (example,)),
        ("text", towers.text_tower, (tokens, tokens)),
    ):
        own = {name: p for name, p in moving.items() if name.startswith(f"{side}_tower.")}
        whole = any(id(p) not in heads for p in own.values())
        head = None
        if own and not whole:
            head = find_head(tower, ids, inputs)
            if head is None:
                # Nothing can be cached below weights that are spread over the tower.
                whole = True
            else:
                above = {id(p) for p in head.parameters()}
                for name in [name for name, p in own.items() if id(p) not in above]:
                    # An attention pool under the head: moving it would take the cache away.
                    del moving[name], rates[name]
        sides[side] = (whole, head)
    slope = nn.Parameter(torch.tensor(20.0, device=device))
    intercept = nn.Parameter(torch.tensor(-5.0, device=device))
    if recipe.judgment_weight > 0:
        moving |= {"judgments.slope": slope, "judgments.intercept": intercept}
        rates |= dict.fromkeys(("judgments.slope", "judgments.intercept"), 100 * recipe.lr_heads)
    for parameter in moving.values():
        parameter.requires_grad_(True)
    count = sum(parameter.numel() for parameter in moving.values())
    log(f"{towers.name}: {count:,} weights move ({trains}) on {_named(devices)}")
    return Learner(
        towers,
        recipe,
        devices,
        moving,
        rates,
        sides["image"][0],
        sides["text"][0],
        sides["image"][1],
        sides["text"][1],
        slope,
        intercept,
    )


def _named(devices: Sequence[torch.device]) -> str:
    return f"{len(devices)} GPUs" if len(devices) > 1 else str(devices[0])


def fine_tune(
    learner: Learner,
    corpus: Corpus,
    out: Path,
    identity: dict[str, str],
    state: State | None,
    log: Log,
    on_step: OnStep,
) -> State:
    """Trains from `state`, or from the base, to the end; `out/best.pt` holds the best weights.

    Raises TrainingError when the loss is no number any more; the last checkpoint is left as it was.
    """
    recipe, moving = learner.recipe, list(learner.moving.values())
    prepare(learner, corpus, out / "cache", identity, log)
    sizes = [0] * len(corpus.weights)
    for example in corpus.train:
        sizes[example.source] += 1
    rows_of = [
        np.array([n for n, e in enumerate(corpus.train) if e.source == source], np.int64)
        for source in range(len(sizes))
    ]
    per_epoch = len(epoch_batches(rows_of, corpus.weights, recipe.batch, recipe.seed, 0))
    total = recipe.epochs * per_epoch
    total = min(total, recipe.max_steps or total)
    every = recipe.validate_every or per_epoch
    warmup = max(1, round(recipe.warmup_share * total))
    optimizer = torch.optim.AdamW(parameter_groups(learner), betas=(0.9, 0.98))
    rates = [group["lr"] for group in optimizer.param_groups]
    average = [p.detach().clone() for p in moving]
    state = state or State(identity, 0, {}, [], {}, -math.inf, 0, 0, 0.0, [], [], False)
    if state.step:
        set_weights(learner, state.moving)
        optimizer.load_state_dict(dict(state.optimizer))
        for value, saved in zip(average, state.average, strict=True):
            value.copy_(saved)
        log(f"going on from step {state.step} of {total}")
    batches: list[np.ndarray] = []
    began, before = time.monotonic(), state.seconds
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        while state.step < total and not state.stopped:
            step = state.step
            epoch, place = divmod(step, per_epoch)
            if not batches or place == 0:
                batches = epoch_batches(rows_of, corpus.weights, recipe.batch, recipe.seed, epoch)
            rng = np.random.default_rng((recipe.seed, STEP, step))
            torch.manual_seed(int(rng.integers(2**62)))  # dropout
            factor = min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / total))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

            learner.train_mode(True)
            loss, parts = batch_loss(learner, corpus.train, batches[place], rng, pool)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(moving, recipe.clip_gradients)
            if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
                raise TrainingError(
                    f"the loss is {loss.item():g} at step {step + 1} (gradient {norm.item():g}): "
                    "start again with lower learning rates, lr_heads, lr_text and lr_image"
                )
            optimizer.step()
            with torch.no_grad():
                # exp(log 100): a larger scale makes the loss forget all but the nearest negatives
                learner.towers.log_logit_scale.clamp_(max=math.log(100.0))
                decay = min(recipe.ema_decay, (step + 1) / (step + 11))
                for value, parameter in zip(average, moving, strict=True):
                    value.lerp_(parameter, 1 - decay)
            state.losses.append(loss.item())
            state.step += 1
            on_step(state.step, total, loss.item())

            validates = state.step % every == 0 or state.step == total
            if validates:
                with swapped(moving, average):  # without EMA the average is the weights themselves
                    recalls = validate(learner, corpus.validation)
                    score = selection(recalls)
                    if score > state.best_score:
                        state.best_score, state.best_step, state.stale = score, state.step, 0
                        checkpoint.write_tensors(weights_of(learner), out / BEST)
                    else:
                        state.stale += 1
                state.stopped = bool(recipe.patience) and state.stale >= recipe.patience
                row: dict[str, Any] = {
                    "step": state.step,
                    "epoch": round(state.step / per_epoch, 3),
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
                found = " ".join(f"{key} {value:.1f}" for key, value in recalls.items())
                log(f"step {state.step}/{total} loss {row['loss']:.3f} {found}")
            if validates or state.step % recipe.checkpoint_every == 0:
                state.moving, state.average = weights_of(learner), [v.cpu() for v in average]
                state.optimizer = optimizer.state_dict()
                state.seconds = before + time.monotonic() - began
                checkpoint.save(state, out)
                write_metrics(state.history, out / "metrics.csv")
    if state.stopped:
        log(f"no better for {recipe.patience} validations: stopped at step {state.step}")
    set_weights(learner, checkpoint.read_tensors(out / BEST))
    learner.towers.eval()
    return state


# --- weights ---------------------------------------------------------------------------------


def named_weights(towers: Towers) -> dict[str, nn.Parameter]:
    """Every weight under its tower's name, wherever else in `towers` it may be registered."""
    weights = {"log_logit_scale": towers.log_logit_scale}
    for side in ("image_tower", "text_tower"):
        for name, parameter in getattr(towers, side).named_parameters():
            weights[f"{side}.{name}"] = parameter
    return weights


def weights_of(learner: Learner) -> dict[str, Tensor]:
    return {name: p.detach().cpu().clone() for name, p in learner.moving.items()}


@torch.no_grad()
def set_weights(learner: Learner, weights: Any) -> None:
    if set(weights) != set(learner.moving):
        raise TrainingError("the checkpoint holds other weights than this recipe trains")
    for name, parameter in learner.moving.items():
        parameter.copy_(weights[name])


def parameter_groups(learner: Learner) -> list[dict[str, Any]]:
    """One group for each rate and kind; biases, norms and scalars are not decayed."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learner.moving.items():
        decay = learner.recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((learner.rates[name], decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def wise_ft(
    learner: Learner, start: dict[str, Tensor], validation: Sequence[Example], log: Log
) -> tuple[float, list[dict[str, float]]]:
    """Sets the point between base and fine-tuned weights with the best recall; (alpha, the sweep).

    Of equal ones the nearest to the base wins: it keeps more of what the base knew.
    Source: Wortsman et al. (2022), Robust fine-tuning of zero-shot models.
    """
    towers = learner.towers
    end = {name: p.detach().clone() for name, p in named_weights(towers).items() if name in start}
    sweep: list[dict[str, float]] = []

    @torch.no_grad()
    def place(alpha: float) -> None:
        for name, parameter in named_weights(towers).items():
            if name in start:
                parameter.copy_(torch.lerp(start[name].to(parameter), end[name], alpha))

    for alpha in sorted(set(learner.recipe.wise_ft)):
        place(alpha)
        recalls = validate(learner, validation)
        sweep.append({"alpha": alpha, **recalls, "selection": selection(recalls)})
        log(f"wise-ft {alpha:.2f}: " + " ".join(f"{k} {v:.1f}" for k, v in recalls.items()))
    best = max(sweep, key=lambda row: (row["selection"], -row["alpha"]))["alpha"]
    place(best)
    return best, sweep


# --- batches ---------------------------------------------------------------------------------


def epoch_batches(
    rows_of: Sequence[np.ndarray], weights: Sequence[float], batch: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """Row numbers of every batch of an epoch, each batch from one source.

    A source of weight 1.5 is gone through once and then half. Pictures of another source are told
    apart at a glance and would be negatives that teach nothing.
    """
    rng = np.random.default_rng((seed, ORDER, epoch))
    pieces: list[np.ndarray] = []
    for rows, weight in zip(rows_of, weights, strict=True):
        rounds = [weight - n for n in range(math.ceil(weight))]
        for share in rounds:
            chosen = rng.permutation(rows)[: max(2, round(min(1.0, share) * len(rows)))]
            if len(chosen) >= 2:  # a source may have lost all its pictures to validation
                pieces += np.array_split(chosen, max(1, round(len(chosen) / batch)))
    return [pieces[n] for n in rng.permutation(len(pieces))]


@dataclass(frozen=True)
class Texts:
    """The texts of a batch beside its pictures, matrices (images, texts).

    `targets` above 0 are positives; `negative_weights` say how much the others repel; `shares` and
    `votes` are the judgments, 0 votes where there is none.
    """

    texts: tuple[str, ...]
    targets: Tensor
    negative_weights: Tensor
    shares: Tensor
    votes: Tensor


def choose_texts(
    examples: Sequence[Example],
    mirrored: Sequence[bool],
    recipe: Recipe,
    rng: np.random.Generator,
) -> Texts:
    """Own captions of every picture, and texts that people judged beside it."""
    chosen: list[dict[str, str]] = []  # of each picture: text as shown -> text as judged
    for example, mirror in zip(examples, mirrored, strict=True):
        captions = example.captions
        own = [captions[n] for n in rng.permutation(len(captions))[: recipe.captions_per_image]]
        own += _choose_judged(example, recipe.judged_per_image, rng)
        chosen.append({(mirror_words(text) if mirror else text): text for text in own})
    columns = list(dict.fromkeys(shown for texts in chosen for shown in texts))
    place = {spelled(text): n for n, text in reversed(list(enumerate(columns)))}
    column_of: dict[str, list[int]] = {}
    for n, text in enumerate(columns):
        column_of.setdefault(spelled(text), []).append(n)
    shape = (len(examples), len(columns))
    targets, weights = torch.zeros(shape), torch.ones(shape)
    shares, votes = torch.zeros(shape), torch.zeros(shape)
    for row, (example, mirror) in enumerate(zip(examples, mirrored, strict=True)):
        # Every judgment that the batch happens to hold counts, whoever brought the text along.
        for text, judgment in example.judged.items():
            key = spelled(mirror_words(text) if mirror else text)
            if key not in place:
                continue
            for column in column_of[key]:
                shares[row, column], votes[row, column] = judgment.share, judgment.votes
                if judgment.kind == "positive":
                    targets[row, column] = judgment.share
                elif judgment.kind == "negative":
                    weights[row, column] = recipe.hard_negative_weight
                else:
                    weights[row, column] = 0.0
        for caption in example.captions:
            key = spelled(mirror_words(caption) if mirror else caption)
            for column in column_of.get(key, ()):
                targets[row, column] = 1.0
    return Texts(tuple(columns), targets, weights, shares, votes)


def _choose_judged(example: Example, count: int, rng: np.random.Generator) -> list[str]:
    """Half of them matching or graded while there are any: nine judged pairs in ten say no."""
    if not count or not example.judged:
        return []
    yes = [text for text, judgment in example.judged.items() if judgment.share > 0]
    no = [text for text, judgment in example.judged.items() if judgment.share == 0]
    some = [yes[n] for n in rng.permutation(len(yes))[: (count + 1) // 2]]
    return some + [no[n] for n in rng.permutation(len(no))[: count - len(some)]]


def batch_loss(
    learner: Learner,
    examples: Sequence[Example],
    rows: np.ndarray,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch and its parts by name."""
    recipe = learner.recipe
    batch = [examples[row] for row in rows]
    with learner.computing():
        if learner.image_moves:
            views = [random_box(recipe.smallest_area, recipe.mirror, rng) for _ in rows]
            paths = [example.path for example in batch]
            pixels = load_batch(paths, views, learner.towers.preprocessing, pool)
            inputs = (torch.from_numpy(pixels).to(learner.device),)
            images = spread(learner.towers.image_tower, inputs, learner.devices)
            mirrored = [view.mirrored for view in views]
        else:
            cache = learner.image_cache
            if cache is None:
                raise ValueError("the image tower is frozen and nothing of it was cached")
            chosen = rng.integers(cache.views, size=len(rows))
            mirrored = cache.mirrored[chosen, rows].tolist()
            features = torch.from_numpy(cache.features[chosen, rows]).to(learner.device)
            images = features if learner.image_head is None else learner.image_head(features)
        said = choose_texts(batch, mirrored, recipe, rng)
        texts = text_embeddings(learner, said.texts, recipe.word_dropout, rng)
    images, texts = normalize(images.float(), dim=1), normalize(texts.float(), dim=1)
    targets, weights = said.targets.to(learner.device), said.negative_weights.to(learner.device)
    scale = learner.towers.logit_scale
    contrastive = judged_contrastive_loss(images, texts, targets, weights, scale)
    if not recipe.judgment_weight:
        return contrastive, {"contrastive": contrastive.item()}
    judged = said.votes > 0
    cosines = (images @ texts.T)[judged.to(learner.device)]  # (judged pairs,)
    shares, votes = (m[judged].to(learner.device) for m in (said.shares, said.votes))
    judgment = judgment_loss(cosines, shares, votes, learner.slope, learner.intercept)
    loss = contrastive + recipe.judgment_weight * judgment
    return loss, {"contrastive": contrastive.item(), "judgment": judgment.item()}


def text_embeddings(
    learner: Learner, texts: Sequence[str], word_dropout: float, rng: np.random.Generator
) -> Tensor:
    """(texts, dimension), not normalised. A frozen text body is asked once for each text."""
    if learner.text_moves:
        tokens = _tokens(learner, texts, word_dropout, rng)
        return spread(learner.towers.text_tower, tokens, learner.devices)
    features = _remembered(learner, texts)
    return features if learner.text_head is None else learner.text_head(features)


def _remembered(learner: Learner, texts: Sequence[str]) -> Tensor:
    """What lies below the text head. `prepare` asks for all texts in one order: the last bits of a
    vector depend on its neighbours, and a resumed run must find the same ones.
    """
    memo, tower, head = learner.text_memo, learner.towers.text_tower, learner.text_head
    missing = sorted({text for text in texts if text not in memo}, key=lambda t: (len(t), t))
    for start in range(0, len(missing), TEXTS_AT_ONCE):
        piece = missing[start : start + TEXTS_AT_ONCE]
        with torch.no_grad(), captured(tower, head) as inside:
            output = tower(*_tokens(learner, piece, 0.0, None))
        memo.update(zip(piece, (inside[0] if head is not None else output).float(), strict=True))
    return torch.stack([memo[text] for text in texts])


@contextmanager
def captured(tower: nn.Module, head: nn.Module | None) -> Iterator[list[Tensor]]:
    """What the tower hands its head while the block runs; the tower is in eval mode in there."""
    inside: list[Tensor] = []
    was_training = [module for module in tower.modules() if module.training]
    tower.eval()
    hook = head.register_forward_pre_hook(lambda _, args: inside.append(args[0])) if head else None
    try:
        yield inside
    finally:
        for module in was_training:
            module.training = True
        if hook:
            hook.remove()


def _tokens(
    learner: Learner, texts: Sequence[str], dropout: float, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    towers = learner.towers
    prefixed = [towers.text_prefix + text for text in texts]
    rows = tokenize(towers.tokenizer, prefixed, towers.context_length)
    if dropout and rng is not None:
        rows = [drop_words(row, dropout, rng) for row in rows]
    ids, mask = pad(rows, towers.pad_token_id)
    return torch.from_numpy(ids).to(learner.device), torch.from_numpy(mask).to(learner.device)


# --- what is computed once, and validation ---------------------------------------------------


def prepare(
    learner: Learner, corpus: Corpus, folder: Path, identity: dict[str, str], log: Log
) -> None:
    """Caches what frozen towers say of pictures and texts; the pictures' part is kept on disk."""
    if not learner.text_moves:
        log("encoding the texts once")
        examples = (*corpus.train, *corpus.validation)
        texts = {text for e in examples for text in (*e.captions, *e.judged)}
        if learner.recipe.mirror:
            texts |= {mirror_words(text) for text in texts}
        with learner.computing():
            _remembered(learner, list(texts))
    if learner.image_moves:
        return
    recipe, count = learner.recipe, len(corpus.train)
    views: list[list[View | None]] = [[None] * count]
    for number in range(1, recipe.views):
        rng = np.random.default_rng((recipe.seed, VIEWS, number))
        views.append([random_box(recipe.smallest_area, recipe.mirror, rng) for _ in range(count)])
    paths = [example.path for example in corpus.train]
    learner.image_cache = FeatureCache.build(
        folder,
        f"{identity}:{recipe.seed}:{recipe.smallest_area}:{recipe.mirror}",
        views,
        lambda rows, number: image_features(
            learner, [paths[n] for n in rows], [views[number][n] for n in rows]
        ),
        IMAGES_AT_ONCE,
        log,
    )


@torch.no_grad()
def image_features(
    learner: Learner, paths: Sequence[Path], views: Sequence[View | None]
) -> np.ndarray:
    """What lies below the image head, or the embeddings where nothing of the tower moves."""
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        pixels = load_batch(paths, views, learner.towers.preprocessing, pool)
    tower, head = learner.towers.image_tower, learner.image_head
    with captured(tower, head) as inside, learner.computing():
        output = tower(torch.from_numpy(pixels).to(learner.device))
    return (inside[0] if head is not None else output).float().cpu().numpy()


@torch.no_grad()
def embed_images(learner: Learner, paths: Sequence[Path]) -> Tensor:
    """Unit embeddings of whole pictures, float32 on the CPU."""
    memo = {} if learner.image_moves else learner.picture_memo
    missing = [path for path in dict.fromkeys(paths) if path not in memo]
    learner.towers.eval()
    for start in range(0, len(missing), IMAGES_AT_ONCE):
        piece = missing[start : start + IMAGES_AT_ONCE]
        features = torch.from_numpy(image_features(learner, piece, [None] * len(piece)))
        memo.update(zip(piece, features, strict=True))
    stacked = torch.stack([memo[path] for path in paths]).to(learner.device)
    if not learner.image_moves and learner.image_head is not None:
        stacked = learner.image_head(stacked)
    return normalize(stacked, dim=1).cpu()


@torch.no_grad()
def embed_texts(learner: Learner, texts: Sequence[str]) -> Tensor:
    """Unit embeddings, float32 on the CPU."""
    learner.towers.eval()
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))  # little padding
    pieces = []
    rng = np.random.default_rng(0)  # nothing is dropped, so nothing is drawn
    for start in range(0, len(order), TEXTS_AT_ONCE):
        some = [texts[n] for n in order[start : start + TEXTS_AT_ONCE]]
        with learner.computing():
            pieces.append(text_embeddings(learner, some, 0.0, rng).float().cpu())
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return normalize(torch.cat(pieces), dim=1)[back]


def validate(learner: Learner, validation: Sequence[Example]) -> dict[str, float]:
    """Text-to-image recall among the validation pictures, in percent."""
    texts = [caption for example in validation for caption in example.captions]
    owners = torch.tensor([n for n, e in enumerate(validation) for _ in e.captions])
    images = embed_images(learner, [example.path for example in validation])
    return recall_at(embed_texts(learner, texts) @ images.T, owners)


def selection(recalls: dict[str, float]) -> float:
    """What steps are chosen by: the mean of Recall@1, 5 and 10. One alone is too coarse."""
    return sum(recalls.values()) / len(recalls)


def write_metrics(history: Sequence[dict[str, Any]], path: Path) -> None:
    columns = list(dict.fromkeys(key for row in history for key in row))
    lines = [",".join(columns)]
    lines += [",".join(f"{row.get(key, ''):.6g}" for key in columns) for row in history]
    checkpoint.write_text(path, "\n".join(lines) + "\n")
