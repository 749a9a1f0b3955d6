"""`scenesearch config show | describe`: the settings in force, and what each is for."""

from typing import TYPE_CHECKING, Annotated

import typer

from scenesearch.commands.console import JsonOption, print_json, printable, read_settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

config_app = typer.Typer(help="Show the settings in force, or describe all.", no_args_is_help=True)


@config_app.command("show")
def show(as_json: JsonOption = False) -> None:
    """Show the value of each setting and where it comes from. Keys are never shown."""
    from scenesearch.home.settings import config_file, shown_value, sources, variable

    settings = read_settings()
    values = {name: shown_value(settings, name) for name in type(settings).model_fields}
    origins = sources()
    file = config_file()
    if as_json:
        shown = {name: {"value": values[name], "from": origins[name]} for name in values}
        print_json({"settings": shown, "file": str(file), "file_exists": file.is_file()})
        return
    for name, value in values.items():
        text = "" if value is None else printable(str(value))
        typer.echo(f"{variable(name):<40} {text:<32} {origins[name]}")
    typer.echo(f"\nenvironment > .env > {file}{'' if file.is_file() else ' (not there)'} > default")


@config_app.command("describe")
def describe(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/settings.md.")
    ] = False,
) -> None:
    """Describe each setting: its default and what it is for."""
    from scenesearch.home.settings import Settings, variable

    if markdown:
        typer.echo("\n".join(markdown_table()))
        return
    for name, field in Settings.model_fields.items():
        typer.echo(f"{variable(name)} (default: {default(name, field)})\n  {field.description}")


def markdown_table() -> list[str]:
    """The lines of the table of settings in the documentation."""
    from scenesearch.home.settings import Settings, variable

    rows = ["| variable | default | what it is for |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{variable(name)}` | {default(name, field)} | {field.description} |")
    return rows


def default(name: str, field: "FieldInfo") -> str:
    """In words; the same on every machine."""
    if name == "data_dir":
        return "your user data folder"
    return "none" if field.default is None else f"{field.default}"
