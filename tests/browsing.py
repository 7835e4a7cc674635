"""A real browser before a real service: log in, look, and keep pictures of what was seen.

Pictures go to ``build/screenshots``. Whatever a page says on its console as an error fails the
test that opened it, unless the test takes it away.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.servers.missing import requires
from tests.serving import Service

ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "build/screenshots"
AXE = ROOT / ".venv/web/node_modules/axe-core/axe.min.js"
AREAS = (
    "overview",
    "tasks",
    "plugins",
    "alerts",
    "backups",
    "performance",
    "logs",
    "integrity",
    "settings",
)
WIDE, PHONE = (1280, 900), (360, 740)
Theme = Literal["light", "dark"]

#: How long something may take to be seen, in milliseconds: no test is meant to come near it.
PATIENCE = 8_000


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium, without a window; skips where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    requires("chromium", how="apt-get install chromium", found=program)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield made
        finally:
            made.close()


def token(service: Service) -> str:
    """That of the greeting."""
    found = re.search(r"#token=(\S+)", " ".join(service.greeting))
    assert found is not None
    return found[1]


@contextmanager
def opened(
    chromium: Browser,
    service: Service,
    area: str = "overview",
    *,
    size: tuple[int, int] = WIDE,
    theme: Theme = "light",
    excused: str = "",
) -> Iterator[Page]:
    """A page of a new browser that has followed the greeting's link. What it says on the console
    as an error, and does not match ``excused``, fails."""
    wrong: list[str] = []
    context = chromium.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme,
        timezone_id="Europe/Berlin",
        locale="en-GB",
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        page.goto(f"{service.url}/#token={token(service)}")
        expect(page.locator("main[data-ready=yes]")).to_be_visible()
        go(page, area)
        yield page
        kept = [each for each in wrong if not excused or not re.search(excused, each)]
        assert kept == []
    finally:
        context.close()


def go(page: Page, area: str) -> None:
    """To an area, once what it shows is there."""
    page.evaluate("hash => { location.hash = hash; }", f"#/{area}")
    expect(page.locator("main h1, main .empty").first).to_be_visible()
    expect(page.locator("main .loading")).to_have_count(0)


def shot(page: Page, name: str) -> None:
    """Keep a picture."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def fits(page: Page) -> None:
    """Nothing is wider than the window."""
    over = page.evaluate(
        """() => {
          const main = document.querySelector("main");
          return [document.documentElement.scrollWidth - innerWidth,
                  main.scrollWidth - main.clientWidth];
        }"""
    )
    assert max(over) <= 0, over


def accessible(page: Page) -> None:
    """axe finds nothing that is serious."""
    requires("axe-core", how="make .venv/.web", found=AXE.exists())
    page.evaluate(f"() => {{ {AXE.read_text()} }}")
    found: list[dict[str, Any]] = page.evaluate("() => axe.run().then(all => all.violations)")
    serious = [
        (each["id"], [node["html"][:160] for node in each["nodes"][:3]])
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
    assert serious == [], serious
