"""Towers on a device: which weights a stage trains, and which features are computed only once.

Below the first weight that trains, a tower's features are computed once, for the whole picture and
a few random views of it. Only what lies above this cut runs in every step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from scenesearch.encoder.preprocessing import clean_text
from training import lora
from training.batches import class_prompts, drop_words, mirror_words, pad, tokenize
from training.corpus import Corpus, Example
from training.frozen import Frozen
from training.model import ImageTower, TextTower
from training.parallel import spread
from training.recipe import Recipe, TrainingError
from training.two_towers import Towers
from training.views import View, load_views, random_view

Log = Callable[[str], None]
TEXTS_AT_ONCE, IMAGES_AT_ONCE = 64, 32
# A crop would cut off what a drawing's caption counts or places.
DRAWN_SMALLEST_AREA = 0.85
_VIEWS = 1  # names the stream of random numbers that draws the cached views


@dataclass
class Side:
    """A tower and where it is cut: `above` makes embeddings of what the module `cut` is given.

    With `trains_whole` nothing is cached. With neither, nothing of the tower trains, and the cache
    holds its embeddings.
    """

    tower: nn.Module
    trains_whole: bool
    cut: nn.Module | None = None
    above: Callable[[Tensor], Tensor] | None = None
    frozen: Callable[[Tensor], Tensor] | None = None  # what lies below the cut, where it is apart

    def below(self, *inputs: Tensor) -> Tensor:
        """The features at the cut, or the embeddings where there is none."""
        if self.frozen is not None:
            return self.frozen(*inputs)

        def stop(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            raise _ReachedError(given[0])

        hook = self.cut.register_forward_pre_hook(stop) if self.cut else None
        try:
            embeddings: Tensor = self.tower(*inputs)
        except _ReachedError as reached:
            return reached.features
        finally:
            if hook:
                hook.remove()
        return embeddings

    def embed(self, features: Tensor) -> Tensor:
        return features if self.above is None else self.above(features)


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; without, it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _ReachedError(Exception):
    """Ends a tower's forward pass at the cut."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


@dataclass
class Learner:
    """Towers with what trains in them during one stage, and what of them is cached."""

    towers: Towers
    recipe: Recipe  # the stage's
    devices: list[torch.device]  # the towers lie on the first
    trained: dict[str, nn.Parameter]
    rates: dict[str, float]  # of each trained parameter
    image: Side
    text: Side
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
    def computing(self, *, texts: bool = False) -> Iterator[None]:
        """bfloat16 on a GPU, and for texts that train on a CPU that has instructions for it.

        A step of MiniLM is three times as fast with them; convolutions are no faster, and what is
        measured or cached keeps its last digits.
        """
        cuda = self.device.type == "cuda"
        enabled = cuda or (texts and torch.is_grad_enabled() and has_bfloat16())
        with torch.autocast("cuda" if cuda else "cpu", torch.bfloat16, enabled=enabled):
            yield

    def train_mode(self) -> None:
        """Dropout where something trains; the running statistics of a batch norm never change."""
        self.towers.eval()
        for side in (self.image, self.text):
            if side.trains_whole or side.cut is not None:
                for module in side.tower.modules():
                    module.training = not isinstance(module, nn.modules.batchnorm._BatchNorm)


def make_learner(towers: Towers, recipe: Recipe, devices: list[torch.device], log: Log) -> Learner:
    """Freezes what the stage does not train, and finds where each tower can be cut."""
    device = devices[0]
    towers.to(device).eval()
    torch.manual_seed(recipe.seed)
    for parameter in towers.parameters():
        parameter.requires_grad_(False)
    rates = _rates(towers, recipe)
    if not rates:
        raise TrainingError("every learning rate of what the recipe trains is 0")
    weights = named_weights(towers)
    pixels = torch.zeros(1, *towers.image_input.shape, device=device)
    tokens = torch.ones(1, 4, dtype=torch.int64, device=device)
    heads = {id(p) for p in towers.parts()["heads"]}
    sides = []
    for name, tower, inputs in (
        ("image_tower", towers.image_tower, (pixels,)),
        ("text_tower", towers.text_tower, (tokens, tokens)),
    ):
        own = [weight for weight in rates if weight.startswith(f"{name}.")]
        if name == "image_tower" and recipe.freeze_trunk and isinstance(tower, ImageTower):
            trunk = Frozen(tower.trunk, towers.image_input.shape)
            sides.append(Side(tower, False, tower.top, tower.embed_maps, trunk))
            continue
        whole = any(id(weights[weight]) not in heads for weight in own)
        cut = None
        if own and not whole:
            cut = find_head(tower, {id(weights[weight]) for weight in own}, inputs)
            whole = cut is None  # nothing can be cached below weights spread over the tower
        if cut is not None:
            above = {id(p) for p in cut.parameters()}
            for weight in own:
                # An attention pool under the head: training it would take the cache away.
                if id(weights[weight]) not in above:
                    del rates[weight]
        sides.append(Side(tower, whole, cut, cut))
    trained = {name: weights[name] for name in rates}
    slope = nn.Parameter(torch.tensor(20.0, device=device))
    intercept = nn.Parameter(torch.tensor(-5.0, device=device))
    if recipe.judgment_weight > 0:
        trained |= {"judgments.slope": slope, "judgments.intercept": intercept}
        rates |= dict.fromkeys(("judgments.slope", "judgments.intercept"), 100 * recipe.lr_heads)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    count = sum(parameter.numel() for parameter in trained.values())
    place = f"{len(devices)} GPUs" if len(devices) > 1 else str(device)
    log(f"{towers.name}: {count:,} weights move ({recipe.trains}) on {place}")
    image, text = sides
    return Learner(towers, recipe, devices, trained, rates, image, text, slope, intercept)


def _rates(towers: Towers, recipe: Recipe) -> dict[str, float]:
    """The learning rate of each weight that the recipe names, by name; LoRA's are added first."""
    trains = recipe.trains
    adapted: set[int] = set()
    if trains == "lora":
        for tower in (towers.image_tower, towers.text_tower):
            adapted |= {id(p) for p in lora.adapt(tower, recipe.lora_rank)}
        if not adapted:
            raise TrainingError(f"{towers.name} has no attention layer that LoRA could adapt")
    heads = {id(p) for p in towers.parts()["heads"]}
    frozen = _frozen(towers, recipe)
    rates: dict[str, float] = {}
    for name, parameter in named_weights(towers).items():
        image = name.startswith("image_tower.")
        side, other, rate = (
            ("image", "text", recipe.lr_image) if image else ("text", "image", recipe.lr_text)
        )
        if id(parameter) in heads:
            # "text" does not train the image tower's head, nor "image" the text tower's.
            moves = name == "log_logit_scale" or trains != other
            rate = recipe.lr_heads
        else:
            moves = id(parameter) in adapted or trains in (side, "both")
        if moves and rate > 0 and id(parameter) not in frozen:
            rates[name] = rate
    return rates


def _frozen(towers: Towers, recipe: Recipe) -> set[int]:
    """The ids of weights that `freeze_trunk` and `freeze_text_layers` keep as they are."""
    modules: list[nn.Module] = []
    if recipe.freeze_trunk:
        if not isinstance(towers.image_tower, ImageTower):
            raise TrainingError(f"{towers.name} has no trunk that freeze_trunk could keep")
        modules.append(towers.image_tower.trunk)
    if recipe.freeze_text_layers:
        if not isinstance(towers.text_tower, TextTower):
            raise TrainingError(f"{towers.name} has no layers that freeze_text_layers could keep")
        body = towers.text_tower.body
        modules += [body.embeddings, *body.encoder.layer[: recipe.freeze_text_layers]]
    return {id(p) for module in modules for p in module.parameters()}


@torch.no_grad()
def find_head(tower: nn.Module, trained: set[int], inputs: tuple[Tensor, ...]) -> nn.Module | None:
    """The largest part of the tower that makes its output from one tensor and trains in full.

    Everything below it can be cached. `trained` are ids of parameters. None if there is no such
    part, for instance when the last layer is inside a larger one that is frozen.
    """
    calls: list[tuple[nn.Module, tuple[object, ...], object]] = []
    hooks = [
        module.register_forward_hook(lambda m, args, out: calls.append((m, args, out)))
        for module in tower.modules()
        if module is not tower
    ]
    try:
        output = tower(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    head = None
    for module, args, out in calls:  # an inner module returns before the one around it
        parameters = list(module.parameters())
        fits = len(args) == 1 and isinstance(args[0], Tensor) and bool(parameters)
        if fits and out is output and all(id(p) in trained for p in parameters):
            head = module
    return head


# --- weights ---------------------------------------------------------------------------------


def named_weights(towers: Towers) -> dict[str, nn.Parameter]:
    """Every weight under its tower's name, even if the module holds it elsewhere too."""
    weights = {"log_logit_scale": towers.log_logit_scale}
    for side in ("image_tower", "text_tower"):
        for name, parameter in getattr(towers, side).named_parameters():
            weights[f"{side}.{name}"] = parameter
    return weights


def weights_of(learner: Learner) -> dict[str, Tensor]:
    return {name: p.detach().cpu().clone() for name, p in learner.trained.items()}


@torch.no_grad()
def set_weights(learner: Learner, weights: Mapping[str, Tensor]) -> None:
    if set(weights) != set(learner.trained):
        raise TrainingError("the checkpoint holds other weights than this recipe trains")
    for name, parameter in learner.trained.items():
        parameter.copy_(weights[name])


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


# --- embeddings ------------------------------------------------------------------------------


def image_embeddings(
    learner: Learner,
    corpus: Corpus,
    rows: np.ndarray,
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
) -> tuple[Tensor, list[bool]]:
    """(images, dimension) of a random view of each train picture, not normalised; and which of
    the views are mirrored."""
    cache = learner.image_cache
    if cache is not None:
        chosen = rng.integers(len(cache.views), size=len(rows))
        features = np.stack([cache.views[v][row] for v, row in zip(chosen, rows, strict=True)])
        mirrored = cache.mirrored[chosen, rows].tolist()
        return learner.image.embed(_tensor(features, learner.device)), mirrored
    batch = [corpus.train[row] for row in rows]
    views = [view_of(example, corpus, learner.recipe, rng) for example in batch]
    paths = [example.path for example in batch]
    pixels = _tensor(load_views(paths, views, learner.towers.image_input, pool), learner.device)
    images = spread(learner.image.tower, (pixels,), learner.devices)
    return images, [view.mirrored for view in views]


def view_of(example: Example, corpus: Corpus, recipe: Recipe, rng: np.random.Generator) -> View:
    drawn = corpus.sources[example.source].drawn
    smallest = max(recipe.smallest_area, DRAWN_SMALLEST_AREA) if drawn else recipe.smallest_area
    return random_view(smallest, recipe.mirror, rng)


def text_embeddings(
    learner: Learner, texts: Sequence[str], word_dropout: float, rng: np.random.Generator
) -> Tensor:
    """(texts, dimension), not normalised. A frozen text body runs once for each text."""
    if not learner.text.trains_whole:
        return learner.text.embed(_text_features(learner, texts))
    if learner.device.type != "cpu":
        tokens = _tokens(learner, texts, word_dropout, rng)
        return spread(learner.text.tower, tokens, learner.devices)
    # One batch would be padded to its longest text: nearly twice the work.
    order = sorted(range(len(texts)), key=lambda n: len(texts[n]))
    pieces = []
    for start in range(0, len(order), TEXTS_AT_ONCE):
        some = [texts[n] for n in order[start : start + TEXTS_AT_ONCE]]
        pieces.append(learner.text.tower(*_tokens(learner, some, word_dropout, rng)))
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(pieces)[back]


@torch.no_grad()
def _text_features(learner: Learner, texts: Sequence[str]) -> Tensor:
    """The features at the text tower's cut.

    `prepare` asks for all texts at once, because the last bits of a vector depend on the others in
    its batch, and a resumed run must get the same vectors.
    """
    memo = learner.text_memo
    missing = sorted({text for text in texts if text not in memo}, key=lambda t: (len(t), t))
    for start in range(0, len(missing), TEXTS_AT_ONCE):
        piece = missing[start : start + TEXTS_AT_ONCE]
        features = learner.text.below(*_tokens(learner, piece, 0.0, None)).float()
        memo.update(zip(piece, features, strict=True))
    return torch.stack([memo[text] for text in texts])


def _tokens(
    learner: Learner, texts: Sequence[str], dropout: float, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    towers = learner.towers
    declared = towers.text_input
    prefixed = [declared.prefix + clean_text(text, declared) for text in texts]
    rows = tokenize(towers.tokenizer, prefixed, declared.context_length)
    if dropout and rng is not None:
        rows = [drop_words(row, dropout, rng) for row in rows]
    ids, mask = pad(rows, declared.pad_token_id)
    return torch.from_numpy(ids).to(learner.device), torch.from_numpy(mask).to(learner.device)


@torch.no_grad()
def _image_features(
    learner: Learner, paths: Sequence[Path], views: Sequence[View | None]
) -> Tensor:
    """The features at the image tower's cut."""
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        pixels = load_views(paths, views, learner.towers.image_input, pool)
    with learner.computing():
        return learner.image.below(_tensor(pixels, learner.device)).float().cpu()


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.asarray(values, np.float32)).to(device)
    # Convolutions on a CPU are faster with the channels last: their weights lie like that.
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@torch.no_grad()
def embed_images(learner: Learner, paths: Sequence[Path]) -> Tensor:
    """Unit embeddings of whole pictures, float32 on the CPU."""
    memo = {} if learner.image.trains_whole else learner.picture_memo
    missing = [path for path in dict.fromkeys(paths) if path not in memo]
    learner.towers.eval()
    for start in range(0, len(missing), IMAGES_AT_ONCE):
        piece = missing[start : start + IMAGES_AT_ONCE]
        memo.update(zip(piece, _image_features(learner, piece, [None] * len(piece)), strict=True))
    pieces = []
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        features = torch.stack([memo[path] for path in paths[start : start + IMAGES_AT_ONCE]])
        pieces.append(learner.image.embed(features.to(learner.device)))
    return normalize(torch.cat(pieces), dim=1).cpu()


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


# --- what is computed once -------------------------------------------------------------------


@dataclass(frozen=True)
class FeatureCache:
    """`views` are arrays (pictures, ...), read from disk as needed; view 0 is the whole picture."""

    views: list[np.ndarray]
    mirrored: np.ndarray  # bool (views, pictures)

    @classmethod
    def build(
        cls,
        folder: Path,
        identity: str,
        views: Sequence[Sequence[View | None]],
        compute: Callable[[Sequence[int], int], np.ndarray],
        log: Log,
    ) -> FeatureCache:
        """Read from `folder`, or computed; `compute` gives the features of some rows in a view.

        There is one file for each view, which gets its name when it is complete, so that a killed
        run goes on with the first view that is missing.
        """
        folder.mkdir(parents=True, exist_ok=True)
        cached = []
        for number, row in enumerate(views):
            described = json.dumps([None if view is None else asdict(view) for view in row])
            digest = hashlib.sha256(f"{identity}:{described}".encode()).hexdigest()[:24]
            path = folder / f"view-{number}-{digest}.npy"
            if not path.exists():
                partial = path.with_suffix(".partial")
                array: np.ndarray | None = None
                for start in range(0, len(row), IMAGES_AT_ONCE):
                    rows = range(start, min(start + IMAGES_AT_ONCE, len(row)))
                    piece = compute(rows, number)
                    if array is None:
                        shape = (len(row), *piece.shape[1:])
                        array = np.lib.format.open_memmap(partial, "w+", piece.dtype, shape)
                    array[rows.start : rows.stop] = piece
                del array
                partial.replace(path)
                log(f"cached view {number + 1} of {len(views)}")
            cached.append(np.load(path, mmap_mode="r"))
        mirrored = [[view is not None and view.mirrored for view in row] for row in views]
        return cls(cached, np.array(mirrored))


def prepare(learner: Learner, corpus: Corpus, folder: Path, log: Log) -> None:
    """Computes the features of frozen towers once; those of pictures are cached on disk."""
    recipe = learner.recipe
    if not learner.text.trains_whole:
        log("encoding the texts once")
        examples = (*corpus.train, *corpus.validation)
        texts = {text for e in examples for text in (*e.captions, *e.judged)}
        if recipe.mirror:
            texts |= {mirror_words(text) for text in texts}
        if learner.towers.classifier is not None:
            texts |= {p for label in learner.towers.classifier.labels for p in class_prompts(label)}
        with learner.computing():
            _text_features(learner, list(texts))
    if learner.image.trains_whole:
        return
    views: list[list[View | None]] = [[None] * len(corpus.train)]
    for number in range(1, recipe.views):
        rng = np.random.default_rng((recipe.seed, _VIEWS, number))
        views.append([view_of(example, corpus, recipe, rng) for example in corpus.train])
    paths = [example.path for example in corpus.train]
    # Maps of a trunk are large, and half the digits are enough for them.
    stored = np.float16 if recipe.freeze_trunk else np.float32

    def compute(rows: Sequence[int], number: int) -> np.ndarray:
        some = [paths[n] for n in rows]
        features = _image_features(learner, some, [views[number][n] for n in rows])
        return features.numpy().astype(stored)

    tower = learner.image.tower
    frozen = tower.trunk if recipe.freeze_trunk and isinstance(tower, ImageTower) else tower
    below = {name: p for name, p in frozen.named_parameters() if not p.requires_grad}
    identity = f"{corpus.fingerprint}:{fingerprint(below)}"
    learner.image_cache = FeatureCache.build(folder, identity, views, compute, log)


def class_posteriors(learner: Learner, corpus: Corpus, folder: Path, log: Log) -> np.ndarray | None:
    """The image base's classes of each whole train picture, (pictures, classes).

    To be called before anything trains. None if there is no classifier to learn from.
    """
    towers, recipe = learner.towers, learner.recipe
    classifier, tower = towers.classifier, towers.image_tower
    if classifier is None or not isinstance(tower, ImageTower):
        return None
    if not (recipe.class_weight or recipe.prototype_weight):
        return None
    paths = [example.path for example in corpus.train]
    grid = Frozen(nn.Sequential(tower.trunk, tower.top), towers.image_input.shape)

    @torch.no_grad()
    def compute(rows: Sequence[int], _: int) -> np.ndarray:
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
            some = [paths[n] for n in rows]
            pixels = load_views(some, [None] * len(rows), towers.image_input, pool)
        found = classifier.posteriors(grid(_tensor(pixels, learner.device)))
        return found.to(torch.float16).cpu().numpy()

    views: list[list[View | None]] = [[None] * len(paths)]
    weights = fingerprint(dict(tower.named_parameters()))
    identity = f"{corpus.fingerprint}:{weights}:classes"
    return FeatureCache.build(folder / "classes", identity, views, compute, log).views[0]
