"""`scenesearch models`: encoders that are bundled, on the shelf, or on the hub."""

import contextlib
import json
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scenesearch.commands.common import open_installation
from scenesearch.commands.console import (
    JsonOption,
    fail,
    print_json,
    printable,
    progress_bar,
    read_settings,
    say,
)

if TYPE_CHECKING:
    from scenesearch.encoder.hub import Repository
    from scenesearch.encoder.layouts import Layout
    from scenesearch.encoder.ready import Source
    from scenesearch.encoder.speed import Candidate, Speed
    from training.gate import Validation

models_app = typer.Typer(
    help="Encoders: bundled with the program, on your shelf, from the hub.",
    no_args_is_help=True,
)

TextFrom = Annotated[
    str | None,
    typer.Option(
        "--text-from", help="Where the text tower is: of a FastEmbed pair, or for a CLIP's weights."
    ),
]
Language = Annotated[
    str | None,
    typer.Option(help="Language of the texts, such as de, for encoders that ask for it (NLLB)."),
]
Dimensions = Annotated[
    int | None,
    typer.Option(help="Keep the first numbers of each vector, if it was trained for that."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the encoder of that name.")]
CONVERTED = ("fp32", "fp16", "int8")
_NOT_CALIBRATED = (
    "none: relevance is measured against few descriptions each time a library is opened; "
    "`scenesearch models calibrate ENCODER` measures it once, against all"
)
NEEDS_TORCH = "needs torch: pip install -e '.[train]'"


@models_app.command("list")
def list_models(
    known: Annotated[
        bool, typer.Option("--known", help="List encoders that `models pull` brings by name.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List all encoders with their size and scores. The default is marked."""
    from scenesearch.encoder.registry import list_encoders

    if known:
        _list_known(as_json)
        return
    settings = read_settings()
    encoders = list_encoders(settings.models_dir)
    if as_json:
        print_json([one.to_json(default=one.name == settings.encoder) for one in encoders])
        return
    typer.echo(
        f"  {'name':<24} {'place':<8} {'dim':>5} {'MB':>7}  text to image, Recall@1 / 5 / 10"
    )
    for one in encoders:
        mark = "*" if one.name == settings.encoder else " "
        start = f"{mark} {one.name:<24} {one.place:<8}"
        if one.info is None:
            typer.echo(f"{start} {printable(one.broken)}")
            continue
        recalls = printable(one.recalls)
        typer.echo(f"{start} {one.info.dimension:>5} {one.megabytes:>7}  {recalls}")


def _list_known(as_json: bool) -> None:
    from scenesearch.encoder.known import DATE, KNOWN

    if as_json:
        print_json([one.to_json() for one in KNOWN])
        return
    typer.echo(
        f"{'name':<18} {'MB':>5}  {'languages':<9}  {'licence':<19}  {'layout':<15}  "
        f"{'good for':<47}  id on the hub"
    )
    for one in KNOWN:
        typer.echo(
            f"{one.name:<18} {f'~{one.mb}':>5}  {one.languages:<9}  {one.license:<19}  "
            f"{one.layout:<15}  {one.use:<47}  {one.repository}"
        )
    typer.echo(
        f"\nFrom the repositories' public cards, {DATE}. `scenesearch models pull NAME` brings one."
    )


@models_app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name or folder of an encoder.")],
    as_json: JsonOption = False,
) -> None:
    """Show what an encoder is made of, how it scores, and whether its files are intact."""
    from scenesearch.encoder.base import EncoderError
    from scenesearch.encoder.folder import read_encoder_info, verify_encoder

    folder = open_installation().encoder_folder(name)
    info = read_encoder_info(folder)
    declared = json.loads((folder / "encoder.json").read_bytes())
    try:
        verify_encoder(folder)
        whole = "every file has its declared hash"
    except EncoderError as error:
        whole = str(error)
    shown = ("method", "fitted_on", "date", "auroc", "auroc_crowd", "ece", "brier", "one_word")
    calibration = {
        key: info.calibration[key] for key in (*shown, "refined") if key in info.calibration
    }
    if calibration and info.scale is not None:
        calibration["declared"] = info.scale.model_dump(exclude_none=True)
    card = folder / "README.md"
    about: dict[str, Any] = {
        "name": info.name,
        "folder": str(folder),
        "fingerprint": info.fingerprint,
        "dimension": info.dimension,
        "picture": f"{info.image.size[1]} x {info.image.size[0]}, {info.image.resize}",
        "text": f"up to {info.text.context_length} tokens",
        "precision": declared.get("precision"),
        "parity": declared.get("parity") or declared.get("verified"),
        "parent": declared.get("parent"),
        "training": declared.get("training"),
        "scores": info.scores or None,
        "calibration": calibration or _NOT_CALIBRATED,
        "files": {part: f"{(folder / part).stat().st_size / 1e6:.1f} MB" for part in info.parts},
        "whole": whole,
        "card": str(card) if card.is_file() else None,
    }
    if as_json:
        print_json(about)
        return
    for key, value in about.items():
        if value is None:
            continue
        if isinstance(value, dict):
            for number, (part, what) in enumerate(value.items()):
                typer.echo(f"{key if not number else '':<12} {printable(f'{part}: {_flat(what)}')}")
        else:
            typer.echo(f"{key:<12} {printable(str(value))}")


@models_app.command()
def pull(
    repository: Annotated[
        str, typer.Argument(help="Hub id, OWNER/NAME, or a name of `models list --known`.")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name on the shelf; default: the repository's.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; default: the newest commit.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16, int8, q4, q4f16 or bnb4: the variant of ready graphs to take; "
            "weights are converted to one of the first three."
        ),
    ] = "fp32",
    text_from: TextFrom = None,
    language: Language = None,
    dimensions: Dimensions = None,
    force: Force = False,
) -> None:
    """Download an encoder from the hub, verify it and put it on the shelf.

    A repository with ready ONNX graphs is taken as it is, without torch; weights are converted.
    """
    from scenesearch.encoder import hub
    from scenesearch.encoder.folder import verify_encoder
    from scenesearch.encoder.known import find_known
    from scenesearch.encoder.shelf import adding_to_shelf

    settings = read_settings()
    shelf = settings.models_dir
    known = find_known(repository)
    if known is not None:
        name = name or known.name
        repository, text_from = known.repository, text_from or known.text_from
    name = name or repository.rpartition("/")[2].lower()
    with adding_to_shelf(shelf, name, replace=force) as workplace:
        repo = hub.look_up(repository, revision)
        texts = hub.look_up(text_from) if text_from else repo
        layout = _ready_layout(repo.files, texts.files, precision, repository)
        if layout is not None:
            options = {"language": language, "dimensions": dimensions}
            _take_ready(layout, repo, texts, workplace, name, options)
        else:
            _refuse_options({"--dimensions": dimensions})
            _need_torch(f"{repository} has no ready graphs in {precision}; converting its weights")
            names = hub.names_to_convert(repo)
            say(f"{repository}: weights, converted by torch")
            source = workplace / "repository"
            with _downloading(repo, names, source):
                hub.download(repo, names, source)
            _convert(
                source,
                workplace / name,
                name,
                precision,
                parent=repo.parent(),
                text_base=text_from,
                language=language,
            )
        verify_encoder(workplace / name)
    typer.echo(f"{name}: {shelf / name} ({repo.repo_id} at {repo.sha[:12]})")
    typer.echo(
        "To search with it:\n"
        f"  scenesearch library build {settings.library} --encoder {name}\n"
        f"  scenesearch library promote {settings.library}\n"
        f'  scenesearch search "a dog in the snow" --library {settings.library}'
    )


def _ready_layout(
    names: Collection[str], text_names: Collection[str], precision: str, of: str
) -> "Layout | None":
    """The ready graphs in this precision; None where weights have to be converted instead."""
    from scenesearch.encoder.layouts import SUFFIXES, choose, find_layouts, find_pair

    if precision not in SUFFIXES:
        fail(f"--precision {precision}: expected {', '.join(SUFFIXES)}")
    layouts = find_layouts(names) if text_names is names else find_pair(names, text_names)
    converts = precision in CONVERTED and any(each.endswith(".safetensors") for each in names)
    if text_names is not names and not layouts and not converts:
        fail(
            f"{of} and --text-from are no pair: the first needs a graph and a "
            "preprocessor_config.json, the second a graph and a tokenizer.json"
        )
    if precision in layouts or (layouts and not converts):
        return choose(layouts, precision, of)
    if precision not in CONVERTED:
        fail(f"{of} has no ready graphs; weights are converted to {', '.join(CONVERTED)}")
    if layouts:
        say(f"{of} has ready graphs in {', '.join(layouts)}, none in {precision}")
    return None


def _take_ready(
    layout: "Layout",
    repo: "Repository",
    texts: "Repository",
    workplace: Path,
    name: str,
    options: dict[str, Any],
) -> None:
    """Downloads the graphs and what belongs to them, and makes an encoder folder of them."""
    from scenesearch.encoder.layouts import files_beside
    from scenesearch.encoder.ready import Source, write_ready_encoder
    from training.card import write_card  # plain text: no torch behind it

    say(f"{repo.repo_id}: {layout.name}, {layout.precision}")
    folder, text_folder = workplace / "repository", workplace / "repository"
    image_names = files_beside(layout, repo.files, "image")
    text_names = files_beside(layout, texts.files, "text")
    parent = repo.parent()
    if texts is repo:
        graphs = dict.fromkeys((layout.image_graph, layout.text_graph))
        _fetch(repo, (*graphs, *image_names, *text_names), folder)
    else:
        text_folder = workplace / "texts"
        _fetch(repo, (layout.image_graph, *image_names), folder)
        _fetch(texts, (layout.text_graph, *text_names), text_folder)
        parent |= {"text_base": texts.repo_id, "text_revision": texts.sha}
    source = Source(layout, folder, text_folder, parent=parent, **options)
    write_ready_encoder(source, workplace / name, name, move=True)
    _measure_relevance(workplace / name)
    write_card(workplace / name)


def _fetch(repo: "Repository", names: Sequence[str], folder: Path) -> None:
    """Downloads these files, and those in which the graphs among them keep their weights."""
    from scenesearch.encoder import hub
    from scenesearch.encoder.ready import external_files

    names = list(dict.fromkeys(names))
    with _downloading(repo, names, folder):
        hub.download(repo, names, folder)
    beside = []
    for graph in (each for each in names if each.endswith(".onnx")):
        place = graph.rpartition("/")[0]
        beside += [f"{place}/{each}".lstrip("/") for each in external_files(folder / graph)]
    missing = [each for each in beside if each not in repo.files]
    if missing:
        fail(f"{repo.repo_id} lacks {missing[0]}, in which its graph keeps weights")
    if beside:
        with _downloading(repo, beside, folder):
            hub.download(repo, beside, folder)


def _refuse_options(options: dict[str, Any]) -> None:
    for option, value in options.items():
        if value is not None:
            fail(f"{option} is for ready graphs; these are weights that are converted")


@models_app.command()
def convert(
    base: Annotated[str, typer.Argument(help="Model folder or hub id with pytorch_model.bin.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; default: the newest commit.")
    ] = None,
) -> None:
    """Rewrite a model's pickled weights as safetensors, the only format that is read elsewhere.

    A pickle can carry code: only tensors are read, and a file with anything else is refused.
    """
    _need_torch("models convert")
    from scenesearch.encoder import hub
    from training.pickled import write_safetensors

    folder = Path(base).expanduser()
    if folder.is_dir():
        written = write_safetensors(folder, out)
    else:
        repo = hub.look_up(base, revision)
        names = hub.names_to_convert(repo, pickled=True)
        with TemporaryDirectory(prefix="scenesearch-convert-") as place:
            source = Path(place) / "repository"
            with _downloading(repo, names, source):
                hub.download(repo, names, source)
            written = write_safetensors(source, out)
    for path in written:
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@models_app.command()
def export(
    base: Annotated[str, typer.Argument(help="Encoder, weights of a run, model folder or hub id.")],
    name: Annotated[str, typer.Option(help="Name of the encoder on the shelf.")],
    precision: Annotated[
        str, typer.Option(help="fp32, fp16, int8, or openvino (calibrated int8).")
    ] = "fp32",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Captioned pictures that were not trained on: a folder in the task's format, or a "
            "manifest. int8 is accepted or refused by its Recall@10 on them."
        ),
    ] = None,
    text_from: TextFrom = None,
    language: Language = None,
    dimensions: Dimensions = None,
    force: Force = False,
) -> None:
    """Turn trained weights into an encoder on the shelf, if it gives the same embeddings.

    A folder of ready ONNX graphs is taken as it is, without torch.
    """
    from scenesearch.encoder.shelf import adding_to_shelf

    shelf = read_settings().models_dir
    ready = _ready_source(base, text_from, precision, language, dimensions)
    if ready is None:
        _need_torch("models export")
        _refuse_options({"--dimensions": dimensions})
    with adding_to_shelf(shelf, name, replace=force) as workplace:
        if ready is not None:
            from scenesearch.encoder.ready import write_ready_encoder
            from training.card import write_card  # plain text: no torch behind it

            say(f"{base}: {ready.layout.name}, {ready.layout.precision}")
            write_ready_encoder(ready, workplace / name, name)
            _measure_relevance(workplace / name)
            write_card(workplace / name)
        else:
            _convert(
                base,
                workplace / name,
                name,
                precision,
                data=data,
                shelf=shelf,
                text_base=text_from,
                language=language,
            )
    typer.echo(f"{name}: {shelf / name}")


def _ready_source(
    base: str, text_from: str | None, precision: str, language: str | None, dimensions: int | None
) -> "Source | None":
    """The ready graphs of a folder; None if it has none."""
    from scenesearch.encoder.layouts import SUFFIXES
    from scenesearch.encoder.ready import Source, names_in

    folder = Path(base).expanduser()
    if not folder.is_dir() or (folder / "encoder.json").exists() or precision not in SUFFIXES:
        return None
    names = names_in(folder)
    text_folder = Path(text_from).expanduser() if text_from else folder
    text_names = names_in(text_folder) if text_from else names
    layout = _ready_layout(names, text_names, precision, base)
    if layout is None:
        return None
    parent = {"base": base}
    return Source(layout, folder, text_folder, language, dimensions, parent)


@models_app.command()
def calibrate(
    encoder: Annotated[str, typer.Argument(help="Name on the shelf, or encoder folder.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder in the task's format with judgments. Without judgments captions are used, "
            "the folder's or a manifest's."
        ),
    ] = None,
    library: Annotated[
        str | None,
        typer.Option(
            help="Refine what there is by the hits marked right or wrong in this library."
        ),
    ] = None,
    captions: Annotated[
        Path | None, typer.Option(help="A captions.tsv with texts that are missing in the folder.")
    ] = None,
) -> None:
    """Fit an encoder's relevance to human judgments, or to a library's marks. Its vectors do not
    change. Without either, it is measured against descriptions of what few libraries show."""
    from scenesearch.encoder.registry import bundled_encoders

    if encoder in bundled_encoders():
        fail(f"{encoder} is bundled: `scenesearch models export {encoder} --name NAME` copies it")
    if data is not None and library is not None:
        fail("--data fits the relevance anew, --library refines it: give one of them")
    if data is None:
        typer.echo(_contrasted(encoder) if library is None else _refined(encoder, library))
        return
    _need_torch("models calibrate --data")
    from training.calibrate import calibrate_encoder
    from training.card import rewrite_relevance

    folder = open_installation().encoder_folder(encoder)
    found = calibrate_encoder(folder, data, say, captions=captions)
    rewrite_relevance(folder)
    figures = [f"{key} {found[key]:.3f}" for key in ("auroc", "ece", "brier") if key in found]
    typer.echo(f"{folder}: {', '.join(figures)}; fitted on {found['fitted_on']}")


def _contrasted(encoder: str) -> str:
    from scenesearch.search.contrast import measure_calibration, write_calibration

    loaded = open_installation().load_encoder(encoder)
    folder = open_installation().encoder_folder(encoder)
    calibration = measure_calibration(loaded)
    write_calibration(folder, calibration)
    return f"{folder}: relevance measured against {calibration['fitted_on']}"


def _refined(encoder: str, library: str) -> str:
    from scenesearch.search.contrast import measure_calibration, write_calibration
    from scenesearch.search.grammar import scene_of
    from scenesearch.search.refine import refine
    from scenesearch.search.searcher import Searcher

    installation = open_installation()
    name = installation.library_name(library)
    folder = installation.encoder_folder(encoder)
    loaded = installation.load_encoder(encoder)
    calibration = loaded.info.calibration or measure_calibration(loaded)
    marks = installation.files(name).read_marks()
    with installation.store(reading=True) as store:
        searcher = Searcher(loaded, store, name)
        scenes = [(scene_of(mark.text, searcher.fields), mark) for mark in marks]
        refined = refine(
            searcher,
            store,
            [(scene, mark.image_id, mark.right) for scene, mark in scenes if scene is not None],
        )
    write_calibration(folder, calibration | {"refined": refined | {"library": name}})
    return f"{folder}: relevance refined by {refined['marks']} marks of library {name}"


@models_app.command()
def bench(
    encoders: Annotated[
        list[str] | None,
        typer.Argument(help="Names or folders; default: SCENESEARCH_ENCODER and the shelf."),
    ] = None,
    precisions: Annotated[
        bool,
        typer.Option(help="Also time fp32, fp16 and int8, if torch can load the first."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Time encoders on this machine, next to torch where it can load them; name the fastest.

    Each is timed with one thread and with all; its size and memory are measured too.
    """
    from scenesearch.encoder.onnx import usable_cores
    from scenesearch.encoder.speed import BATCHES, measure_speeds

    installation = open_installation()
    settings = installation.settings
    names = list(dict.fromkeys(encoders or [settings.encoder, *_shelved(settings.models_dir)]))
    cores = settings.threads or usable_cores()
    served = [
        one for name in names for one in _served(name, installation.encoder_folder(name), cores)
    ]
    with TemporaryDirectory(prefix="scenesearch-bench-") as folder:
        in_torch = _torch_candidates(names[0], settings.models_dir, cores, Path(folder), precisions)
        candidates = [*in_torch, *(one.candidate for one in served)]
        rounds = 5
        with progress_bar() as progress:
            task = progress.add_task("timing", total=rounds * len(BATCHES) * len(candidates))
            speeds = measure_speeds(
                candidates, rounds=rounds, on_round=lambda: progress.update(task, advance=1)
            )
    best = _recommended(speeds, {one.candidate.name for one in served})
    if as_json:
        print_json([_speed_row(speed, served, best) for speed in speeds])
        return
    _print_speeds(speeds, candidates[0].name, served)
    if len(served) > 1:
        typer.echo(_advice(served, best))


@dataclass(frozen=True)
class _Served:
    """An encoder with a number of threads, as it would be served."""

    encoder: str
    threads: int
    precision: str
    mb: float
    memory_mb: float
    candidate: "Candidate"


def _shelved(shelf: Path) -> list[str]:
    """The names of the encoders on the shelf that can be read."""
    from scenesearch.encoder.registry import list_encoders

    return [each.name for each in list_encoders(shelf) if each.place == "shelf" and each.info]


def _served(name: str, folder: Path, cores: int) -> Iterator[_Served]:
    from scenesearch.encoder.onnx import OnnxEncoder
    from scenesearch.encoder.speed import candidate, memory_mb

    for threads in sorted({1, cores}, reverse=True):
        encoder = OnnxEncoder(folder, threads=threads)
        mb = sum((folder / part).stat().st_size for part in encoder.info.parts) / 1e6
        declared = json.loads((folder / "encoder.json").read_bytes()).get("precision")
        label = name if threads == cores else f"{name}, 1 thread"
        yield _Served(
            *(name, threads, str(declared or "fp32"), round(mb, 1)),
            *(round(memory_mb(folder, threads)), candidate(label, encoder)),
        )


def _recommended(speeds: "Sequence[Speed]", served: set[str]) -> tuple[str, str]:
    """The names of the fastest for batches of pictures, and for a query."""
    own = [speed for speed in speeds if speed.name in served]
    pictures = max((s for s in own if s.batch == 8), key=lambda s: s.images_per_s)
    queries = min((s for s in own if s.batch == 1), key=lambda s: s.text_ms)
    return pictures.name, queries.name


def _speed_row(speed: "Speed", served: Sequence[_Served], best: tuple[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = dict(speed.__dict__)
    for one in served:
        if one.candidate.name == speed.name:
            row |= {
                "name": one.encoder,
                "threads": one.threads,
                "precision": one.precision,
                "mb": one.mb,
                "memory_mb": one.memory_mb,
                "fastest_for_pictures": best[0] == speed.name,
                "fastest_for_queries": best[1] == speed.name,
            }
    return row


def _need_torch(what: str) -> None:
    if not all(find_spec(package) for package in ("torch", "transformers")):
        fail(f"{what} {NEEDS_TORCH}")


def _convert(
    base: str | Path,
    folder: Path,
    name: str,
    precision: str,
    *,
    data: Path | None = None,
    shelf: Path | None = None,
    parent: dict[str, str] | None = None,
    text_base: str | None = None,
    language: str | None = None,
) -> None:
    """Exports the base's towers to `folder`, with a card."""
    from training.card import write_card
    from training.export import export_towers
    from training.towers import load_towers

    validation = _validation(data) if data else None
    if precision == "openvino":
        from scenesearch.encoder.registry import find_encoder
        from training.openvino_int8 import export_openvino

        export_openvino(
            find_encoder(str(base), shelf), folder, name=name, validation=validation, log=say
        )
        _measure_relevance(folder)
        write_card(folder)
        return
    towers = load_towers(base, text_base=text_base, shelf=shelf, language=language, origin=parent)
    say(f"{name}: {towers.parent.get('layout', 'an encoder of the bundled kind')}")
    facts: dict[str, Any] = {"parent": towers.parent}
    if towers.calibration:  # it is the same space
        facts["calibration"] = towers.calibration
    export_towers(
        towers, folder, name=name, precision=precision, validation=validation, facts=facts
    )
    _measure_relevance(folder)
    write_card(folder)


def _measure_relevance(folder: Path) -> None:
    """Measures the relevance of an encoder that has no calibration, and stores it in its folder."""
    from scenesearch.encoder.onnx import OnnxEncoder
    from scenesearch.search.contrast import measure_calibration, write_calibration

    encoder = OnnxEncoder(folder)
    if not encoder.info.calibration:
        say("measuring what its cosines mean, against descriptions of what few libraries show")
        write_calibration(folder, measure_calibration(encoder))


def _validation(data: Path) -> "Validation":
    from training.corpus import load_captioned
    from training.gate import Validation

    examples = load_captioned(data, say)
    return Validation(
        tuple(example.path for example in examples), tuple(example.captions for example in examples)
    )


@contextmanager
def _downloading(repo: "Repository", names: Sequence[str], folder: Path) -> Iterator[None]:
    """A bar in MB while files of the repository arrive in `folder`."""
    total = sum(repo.files[name].size for name in names)
    done = threading.Event()

    def arrived() -> int:
        found = 0
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):  # renamed while we look
                found += path.stat().st_size if path.is_file() else 0
        return found

    with progress_bar() as progress:
        task = progress.add_task(f"{repo.repo_id}, MB", total=round(total / 1e6) or 1)

        def watch() -> None:
            while not done.wait(0.3):
                progress.update(task, completed=min(round(arrived() / 1e6), round(total / 1e6)))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
            progress.update(task, completed=round(total / 1e6) or 1)
        finally:
            done.set()
            watcher.join()


def _torch_candidates(
    name: str, shelf: Path, threads: int, folder: Path, precisions: bool
) -> "list[Candidate]":
    """The encoder in torch, and its precisions, if torch can load its weights."""
    try:
        import training.speed as in_torch
        from training.towers import load_towers
    except ModuleNotFoundError:
        say(f"torch is not compared: it {NEEDS_TORCH}")
        return []
    from scenesearch.errors import SceneSearchError

    try:
        towers = load_towers(name, shelf=shelf)
    except SceneSearchError as error:
        say(f"torch is not compared: {error}")
        return []
    found = [in_torch.eager(towers, "torch eager", threads)]
    if precisions:
        found += in_torch.precisions(towers, name, threads, folder)
    return found


def _print_speeds(speeds: "Sequence[Speed]", base: str, served: Sequence[_Served]) -> None:
    bases = {speed.batch: speed for speed in speeds if speed.name == base}
    typer.echo(f"{'':<28} batch  pictures/s  ratio  text ms  ratio   (ratio to {base})")
    for speed in speeds:
        images = speed.images_per_s / bases[speed.batch].images_per_s
        text = bases[speed.batch].text_ms / speed.text_ms
        typer.echo(
            f"{speed.name:<28} {speed.batch:>5}  {speed.images_per_s:>10.1f}  {images:>5.2f}  "
            f"{speed.text_ms:>7.1f}  {text:>5.2f}"
        )
    typer.echo(f"\n{'':<28} precision  size MB  memory MB")
    for one in served:
        typer.echo(
            f"{one.candidate.name:<28} {one.precision:<9}  {one.mb:>7.1f}  {one.memory_mb:>9.0f}"
        )


def _advice(served: Sequence[_Served], best: tuple[str, str]) -> str:
    """What to set, as the last line."""
    by_name = {one.candidate.name: one for one in served}
    pictures, queries = (by_name[name] for name in best)
    return (
        f"\nfastest for pictures: {_described(pictures)}; for queries: {_described(queries)}. "
        f"Choose with SCENESEARCH_ENCODER={pictures.encoder} "
        f"SCENESEARCH_THREADS={queries.threads}"
    )


def _described(one: _Served) -> str:
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    return f"{one.encoder} ({one.precision}, {threads})"


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    return str(value)
