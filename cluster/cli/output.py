"""What a verb prints: sentences for people, or one JSON document for programs. Never colours in a pipe."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def say(text: str, *, error: bool = False) -> None:
    """A line for people; click drops the colours when it does not go to a terminal."""
    click.echo(text, err=error)


def answer(as_json: bool, text: str, data: Mapping[str, Any]) -> None:
    """The result of a verb that went well."""
    if as_json:
        click.echo(json.dumps({"ok": True, **data}, ensure_ascii=False))
    else:
        click.echo(text)


def failure(as_json: bool, message: str, exit_code: int) -> int:
    """The one report of what went wrong; returns the exit code."""
    if as_json:
        click.echo(json.dumps({"ok": False, "error": message, "exit_code": exit_code}, ensure_ascii=False))
    else:
        click.echo(f"{click.style('edgecluster:', fg='red')} {message}", err=True)
    sys.stdout.flush()
    return exit_code


def level(word: str) -> str:
    """ "ok", "warning" or "error" in its colour, padded to one width."""
    return click.style(f"{word:<8}", fg=_COLOURS[word])


def duration(seconds: float) -> str:
    """A span of time in its two largest units: 93784 -> '1d 2h'."""
    left = int(seconds)
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
