"""`scenesearch train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scenesearch.commands.console import (
    JsonOption,
    fail,
    print_json,
    printable,
    progress_bar,
    read_settings,
)


def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; new, except with --resume.")],
    recipe: Annotated[
        str, typer.Option(help="task, clip, smoke, lite, or a .toml file with your own values.")
    ] = "task",
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Folder in the task's format, manifest with captions, or drawn:COUNT. SOURCE=2 "
            "counts double; may be repeated. Default: the recipe's.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Encoder to start from: lite, folder, hub id; default: the recipe's."),
    ] = None,
    evaluate_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Folder or manifest to evaluate on before and after, and never to train on; may "
            "be repeated. The test set of a task folder is always added.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value of the recipe."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the stopped run in the folder.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fine-tune an encoder on captioned pictures and judgments. The result is an encoder folder."""
    try:
        from training.train import train as run_training
    except ModuleNotFoundError as error:
        missing = error.name
        fail(f"training needs {missing}: pip install -e '.[train]'")
    with progress_bar() as progress:
        task = progress.add_task("training", total=None)

        def on_step(done: int, total: int, loss: float) -> None:
            progress.update(
                task, completed=done, total=total, description=f"training, loss {loss:.3f}"
            )

        summary = run_training(
            recipe,
            out=out,
            data=data or [],
            base=base,
            evaluate_on=evaluate_on or [],
            overrides=changes or [],
            resume=resume,
            shelf=read_settings().models_dir,
            log=lambda line: progress.console.print(printable(line), markup=False),
            on_step=on_step,
        )
    if as_json:
        print_json(summary)
    else:
        _print_training(summary)


def _print_training(summary: dict[str, Any]) -> None:
    for place, found in summary.get("evaluation", {}).items():
        typer.echo(
            f"\n{printable(place)}: {found['queries']} queries, "
            f"gallery of {found['gallery']} pictures"
        )
        for metric, (value, _, _) in found["before"].items():
            after, (gain, low, high) = found["after"][metric][0], found["gain"][metric]
            typer.echo(
                f"  {metric:<10} {value:>5.1f} -> {after:>5.1f}   "
                f"gain {gain:+.1f} ({low:+.1f} – {high:+.1f})"
            )
    typer.echo(f"\n{summary['name']}: {summary['encoder']}")
