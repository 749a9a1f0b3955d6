"""`scenesearch models`: encoders that are bundled, on the shelf, or on the hub."""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    from scenesearch.encoder.speed import Candidate, Speed
    from training.gate import Validation

models_app = typer.Typer(
    help="Encoders: bundled with the program, on your shelf, from the hub.",
    no_args_is_help=True,
)

Precision = Annotated[
    str,
    typer.Option(help="How weights are stored: fp32, fp16 or int8; int8 must keep the Recall@10."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the encoder of that name.")]
_NOT_CALIBRATED = (
    "none: relevance is measured against few descriptions each time a library is opened; "
    "`scenesearch models calibrate ENCODER` measures it once, against all"
)
NEEDS_TORCH = "needs torch: pip install -e '.[train]'"


@models_app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List all encoders with their size and scores. The default is marked."""
    from scenesearch.encoder.registry import list_encoders

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
    repository: Annotated[str, typer.Argument(help="Hub id, OWNER/NAME.")],
    name: Annotated[
        str | None, typer.Option(help="Name on the shelf; default: the repository's.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit; default: the newest commit.")
    ] = None,
    precision: Precision = "fp32",
    force: Force = False,
) -> None:
    """Download a CLIP or SigLIP from the hub, convert and verify it, put it on the shelf.

    A repository with ONNX towers is taken as it is, without torch.
    """
    from scenesearch.encoder import hub
    from scenesearch.encoder.folder import verify_encoder
    from scenesearch.encoder.shelf import adding_to_shelf
    from training.card import write_card  # plain text: no torch behind it

    shelf = read_settings().models_dir
    name = name or repository.rpartition("/")[2].lower()
    with adding_to_shelf(shelf, name, replace=force) as workplace:
        repo = hub.look_up(repository, revision)
        ready = precision == "fp32" and hub.has_ready_towers(repo)
        if not ready:
            _need_torch(f"{repository} has no ONNX towers to take as they are; converting it")
        names = hub.names_to_take(repo) if ready else hub.names_to_convert(repo)
        source = workplace / "repository"
        with _downloading(repo, names, source):
            hub.download(repo, names, source)
        if ready:
            hub.write_ready_encoder(source, workplace / name, name, repo)
            write_card(workplace / name)
        else:
            _convert(source, workplace / name, name, precision, parent=repo.parent())
        verify_encoder(workplace / name)
    typer.echo(f"{name}: {shelf / name} ({repo.repo_id} at {repo.sha[:12]})")
    say(f"uncalibrated: `scenesearch models calibrate {name} --data FOLDER` fits its relevance")


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
    force: Force = False,
) -> None:
    """Turn trained weights into an encoder on the shelf, if it gives the same embeddings."""
    _need_torch("models export")
    from scenesearch.encoder.shelf import adding_to_shelf

    shelf = read_settings().models_dir
    with adding_to_shelf(shelf, name, replace=force) as workplace:
        _convert(base, workplace / name, name, precision, data=data, shelf=shelf)
    typer.echo(f"{name}: {shelf / name}")


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
        list[str] | None, typer.Argument(help="Names or folders; default: SCENESEARCH_ENCODER.")
    ] = None,
    precisions: Annotated[
        bool,
        typer.Option(help="Also time fp32, fp16 and int8, if torch can load the first."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Time encoders on this machine, next to torch where it can load them; name the fastest."""
    from scenesearch.encoder.onnx import usable_cores
    from scenesearch.encoder.speed import BATCHES, candidate, measure_speeds

    installation = open_installation()
    settings = installation.settings
    names = encoders or [settings.encoder]
    threads = settings.threads or usable_cores()
    served = [candidate(name, installation.load_encoder(name)) for name in dict.fromkeys(names)]
    with TemporaryDirectory(prefix="scenesearch-bench-") as folder:
        in_torch = _torch_candidates(
            names[0], settings.models_dir, threads, Path(folder), precisions
        )
        candidates = [*in_torch, *served]
        rounds = 5
        with progress_bar() as progress:
            task = progress.add_task("timing", total=rounds * len(BATCHES) * len(candidates))
            speeds = measure_speeds(
                candidates, rounds=rounds, on_round=lambda: progress.update(task, advance=1)
            )
    if as_json:
        print_json([speed.__dict__ for speed in speeds])
        return
    _print_speeds(speeds, candidates[0].name, {candidate.name for candidate in served})


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
        write_card(folder)
        return
    towers = load_towers(base, shelf=shelf)
    facts = {"parent": {**towers.parent, **(parent or {})}}
    export_towers(
        towers, folder, name=name, precision=precision, validation=validation, facts=facts
    )
    write_card(folder)


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


def _print_speeds(speeds: "Sequence[Speed]", base: str, served: set[str]) -> None:
    bases = {speed.batch: speed for speed in speeds if speed.name == base}
    typer.echo(f"{'':<28} batch  pictures/s  ratio  text ms  ratio   (ratio to {base})")
    for speed in speeds:
        images = speed.images_per_s / bases[speed.batch].images_per_s
        text = bases[speed.batch].text_ms / speed.text_ms
        typer.echo(
            f"{speed.name:<28} {speed.batch:>5}  {speed.images_per_s:>10.1f}  {images:>5.2f}  "
            f"{speed.text_ms:>7.1f}  {text:>5.2f}"
        )
    own = [speed for speed in speeds if speed.name in served]
    if len(served) > 1:
        best = max((s for s in own if s.batch == 8), key=lambda s: s.images_per_s).name
        quickest = min((s for s in own if s.batch == 1), key=lambda s: s.text_ms).name
        typer.echo(
            f"\nfastest for pictures: {best}; for queries: {quickest}. "
            f"Choose one for a library with SCENESEARCH_ENCODER={best}"
        )


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    return str(value)
