"""The pages that come from the code are as the code says."""

from __future__ import annotations

import os
import re

import click
import pytest
from fastapi.routing import APIRoute

from bot import errors
from bot.cli import main
from bot.config import Settings
from bot.config_sources import Declared
from bot.web import rest
from tools.docs import DOCS, contexts, pages

ROOT = DOCS.parent


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text() == pages()[name], "run `make docs` and commit the result"


def test_every_setting_command_error_and_route_is_documented() -> None:
    # Against the code itself, and not against what the generator made of it.
    text = (DOCS / "settings.md").read_text()
    for leaf, field in Declared(Settings).leaves().items():
        assert field.description, leaf
        assert f"| `{leaf.upper()}` | " in text
    text = (DOCS / "commands.md").read_text()
    for name, command in main.commands.items():
        assert f"\n## mltb {name}\n" in text
        for option in (each for each in command.params if isinstance(each, click.Option)):
            assert all(spelling in text for spelling in option.opts), (name, option.opts)
    text = (DOCS / "errors.md").read_text()
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.MltbError):
            assert f"| `{kind.code}` | " in text
    text = (DOCS / "rest.md").read_text()
    for route in rest.router.routes:
        assert isinstance(route, APIRoute)
        for method in route.methods or ():
            assert f"| `{method} {route.path}` | " in text


def test_every_option_of_a_command_says_what_it_is() -> None:
    silent = [
        f"{context.command_path} {option.opts[0]}"
        for context in contexts()
        for option in context.command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_pages_are_the_same_on_every_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = pages()["commands.md"]
    monkeypatch.setenv("COLUMNS", "50")
    assert pages()["commands.md"] == before
    assert "-h, --help" in before


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "CHANGELOG.md"])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert os.path.exists((ROOT / page).parent / target), target  # noqa: PTH110


def test_the_settings_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text()
    names = re.findall(r"^    ([A-Z_]+)=", text, re.MULTILINE)
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)
