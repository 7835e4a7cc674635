"""The pages that come from the code are as the code says."""

from __future__ import annotations

import os
import re

import pytest

from bot.config import Settings
from tools.docs import DOCS, pages

ROOT = DOCS.parent


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text() == pages()[name], "run `make docs` and commit the result"


def test_every_setting_has_a_help_text() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`{name.upper()}`" in (DOCS / "settings.md").read_text()


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
