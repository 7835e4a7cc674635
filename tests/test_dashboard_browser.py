"""The dashboard in a real browser, used as a person uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests import browsing, plugging
from tests.browsing import AREAS, PHONE, WIDE, Theme, accessible, fits, go, opened, shot
from tests.servers.behaviours import NoRanges, Throttled
from tests.servers.http import HttpServer
from tests.servers.ports import free_port
from tests.servers.routes import KIB, MIB, Generated, Resource
from tests.serving import Service

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "\u202egpj.exe\u202c ends elsewhere",
    "w" * 255,
    "🎬 Film 😀 مرحبا.mkv",
)
GREETER = '''
    from bot.core.plugin_manager import BasePlugin

    class Greeter(BasePlugin):
        """Says hello."""

        async def execute(self, name: str = "you", **rest: object) -> object:
            print(f"greeted {name}")
            return {"hello": name, "politely": self.get_config()["polite"]}
'''
MANIFEST = """
    version = "1.2.0"
    api = ">=1,<2"
    type = "custom"
    description = "Says hello"

    [rights]
    net = ["example.org:443"]

    [config.properties]
    polite = { type = "boolean", default = false, description = "Whether it bows." }
    word = { type = "string", default = "hello", maxLength = 20 }
"""


@dataclass
class World:
    """A service with something in each area, and where its files come from."""

    service: Service
    source: HttpServer
    browser: Browser

    def slow(self, name: str) -> str:
        """The link of a file that takes minutes."""
        route = Throttled(NoRanges(Resource(Generated(64 * MIB))), rate=256 * KIB)
        return self.source.add(f"/{name}", route)


@pytest.fixture(autouse=True)
def _end_what_still_runs(world: World) -> Iterator[None]:
    """The next test finds room."""
    yield
    unfinished = ("queued", "probing", "running", "paused", "retrying")
    if world.service.running:
        for task in world.service.client.get("/tasks", state=list(unfinished))["items"]:
            world.service.client.post(f"/tasks/{task['id']}/cancel")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("dashboard")
    port = str(free_port())  # the same after a new start: the page finds it again
    with browsing.browser() as browser, HttpServer() as source:
        service = Service(directory, WEB_PORT=port, MAX_ACTIVE="2", DASHBOARD_REFRESH="1")
        plugging.folder(service, "greeter", GREETER, MANIFEST)
        with service:
            yield World(service, source, browser)


def _row(page: Page, name: str) -> Locator:
    return page.locator(".space .row", has=page.get_by_text(name, exact=True))


def _add(page: Page, *links: str) -> None:
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_label("Links, one a line").fill("\n".join(links))
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_log_in_and_out(world: World) -> None:
    context = world.browser.new_context()
    page = context.new_page()
    page.goto(world.service.url)
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    shot(page, "login")
    accessible(page)
    page.get_by_label("Token").fill("mltb_not_a_token")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    page.get_by_label("Token").fill(browsing.token(world.service))
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    # The token stays nowhere in the browser; the cookie can't be read by a script.
    kept = page.evaluate("[document.cookie, JSON.stringify(localStorage), location.href].join()")
    assert "mltb_" not in kept.replace("mltb_session", "")
    page.get_by_role("button", name=re.compile("Log out")).click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    context.close()


def test_a_task_from_the_plan_to_the_receipt(world: World) -> None:
    link = world.source.content("/film.mkv", 300 * KIB)
    with opened(world.browser, world.service, "tasks") as page:
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_label("Links, one a line").fill(link)
        page.get_by_role("button", name="Show the plan").click()
        expect(page.get_by_text("fetch → deliver → verify")).to_be_visible()
        shot(page, "add")
        accessible(page)
        page.get_by_role("button", name="Start").click()
        row = _row(page, "film.mkv")
        expect(row.get_by_text("done")).to_be_visible()
        row.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
        expect(page.locator(".facts .hash")).to_have_text(Generated(300 * KIB).sha256)
        expect(page.get_by_text("task.done")).to_be_visible()  # its log
        shot(page, "task")
        accessible(page)


def test_pause_cancel_and_retry(world: World) -> None:
    with opened(world.browser, world.service, "tasks") as page:
        _add(page, world.slow("slow.iso"), world.source.url("/later.iso"))
        row = _row(page, "slow.iso")
        expect(row.locator("progress")).to_be_visible()
        row.get_by_role("button", name="Pause").click()
        expect(row.get_by_text("paused")).to_be_visible()
        page.locator(".toast").get_by_role("button", name="Resume").click()  # the undo
        expect(row.get_by_text("running")).to_be_visible()
        row.get_by_role("button", name="Cancel").click()
        shot(page, "confirm")
        accessible(page)
        page.get_by_role("dialog").get_by_role("button", name="Back").click()
        expect(row.get_by_text("running")).to_be_visible()
        row.get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
        expect(row.get_by_text("cancelled")).to_be_visible()

        failed = page.locator(".space .row", has_text="/later.iso")
        expect(failed.get_by_text("failed", exact=True)).to_be_visible()
        failed.get_by_role("link").click()
        failure = page.get_by_label("Why it failed")
        expect(failure.get_by_text("404")).to_be_visible()
        expect(failure.get_by_text("What to do")).to_be_visible()
        shot(page, "failure")
        world.source.content("/later.iso", 1000)
        page.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("heading", name="Receipt")).to_be_visible()


def test_search_filter_and_many_at_once(world: World) -> None:
    links = [world.source.content(f"/many-{number}.bin", 100) for number in range(5)]
    with opened(world.browser, world.service, "tasks") as page:
        _add(page, *links)
        page.get_by_placeholder("Search").fill("many-")
        rows = page.locator(".space .row")
        expect(rows).to_have_count(5)
        expect(rows.get_by_text("done")).to_have_count(5)
        page.get_by_role("button", name=re.compile("^Failed")).click()
        expect(page.get_by_text("No task has that")).to_be_visible()
        page.get_by_role("button", name=re.compile("^Done")).click()
        expect(rows).to_have_count(5)
        rows.first.get_by_role("checkbox").click()
        rows.nth(3).get_by_role("checkbox").click(modifiers=["Shift"])
        expect(page.get_by_text("4 tasks chosen")).to_be_visible()
        shot(page, "bulk")
        bulk = page.get_by_label("Chosen tasks")
        bulk.get_by_role("button", name="Forget").click()
        page.get_by_role("dialog").get_by_role("button", name="Forget it").click()
        expect(rows).to_have_count(1)


def test_the_queue_is_put_in_order_by_keys(world: World) -> None:
    with opened(world.browser, world.service, "tasks?show=queue") as page:
        _add(page, *(world.slow(f"queued-{number}.iso") for number in range(5)))
        rows = page.locator(".space .row")
        expect(rows).to_have_count(3)
        before = rows.locator(".c-name a").all_inner_texts()
        rows.last.get_by_role("button", name=re.compile("^Move")).focus()
        page.keyboard.press("ArrowUp")
        wanted = [before[0], before[2], before[1]]
        expect(rows.locator(".c-name a")).to_have_text(wanted)
        rows.nth(1).drag_to(rows.first)
        expect(rows.locator(".c-name a")).to_have_text([before[2], before[0], before[1]])
        shot(page, "queue")


def test_hostile_names_are_text(world: World) -> None:
    link = world.source.content("/plain.bin", 10)
    for name in HOSTILE:
        task = world.service.fetch(link, options={"name": name}, again=True)
        assert task["state"] == "done"
    for size in (WIDE, PHONE):
        with opened(world.browser, world.service, "tasks", size=size) as page:
            page.on("dialog", lambda said: pytest.fail(f"a script ran: {said.message}"))
            expect(page.locator(".space .row").nth(3)).to_be_visible()
            shown = page.locator(".c-name a").all_inner_texts()
            assert any("🎬" in each for each in shown)
            assert any(each.startswith("\ufffdgpj.exe") for each in shown)  # not exe.jpg
            high = "rows => new Set(rows.map(row => row.offsetHeight)).size"
            assert page.locator(".space .row").evaluate_all(high) == 1
            assert page.locator("main img").count() == 0
            fits(page)
            shot(page, f"hostile-{size[0]}")
            page.locator(".c-name a").nth(1).click()
            expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
            fits(page)


def test_a_plugin_is_consented_to_configured_and_run(world: World) -> None:
    with opened(world.browser, world.service, "plugins") as page:
        expect(page.get_by_text("refused")).to_be_visible()
        page.get_by_role("button", name="Enable").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("It may talk to example.org:443")).to_be_visible()
        shot(page, "consent")
        accessible(page)
        dialog.get_by_role("button", name="Grant and enable").click()
        expect(page.get_by_text("running")).to_be_visible()
        page.get_by_role("link", name="greeter").click()
        page.get_by_label("Polite").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Configured")).to_be_visible()
        page.get_by_label("Arguments, as a JSON object").fill('{"name": "<b>Ada</b>"}')
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".result")).to_contain_text('"hello": "<b>Ada</b>"')
        expect(page.locator(".result")).to_contain_text('"politely": true')
        expect(page.get_by_text("greeted <b>Ada</b>")).to_be_visible()
        shot(page, "plugin")
        accessible(page)


def test_an_alert_is_acknowledged_and_silenced(world: World) -> None:
    world.service.client.post("/alerts/trigger", {"title": "The mirror moves", "severity": "high"})
    with opened(world.browser, world.service, "alerts") as page:
        alert = page.locator(".alert", has_text="The mirror moves")
        alert.get_by_role("button", name="Acknowledge").click()
        expect(alert.get_by_text("acknowledged")).to_be_visible()
        alert.get_by_role("button", name="Silence").click()
        page.get_by_label("Why").fill("It was planned")
        page.get_by_role("dialog").get_by_role("button", name="Silence").click()
        expect(page.get_by_text("It was planned")).to_be_visible()
        shot(page, "alerts")
        page.get_by_role("button", name="End it").click()
        expect(page.get_by_text("every alert is told")).to_be_visible()
        alert.get_by_role("button", name="Resolve").click()
        expect(alert).to_have_count(0)


def test_the_log_follows_and_holds_still(world: World) -> None:
    with opened(world.browser, world.service, "logs") as page:
        expect(page.get_by_text("follows")).to_be_visible()
        world.service.fetch(world.source.content("/logged.bin", 10))
        expect(page.locator(".tail")).to_contain_text("logged.bin")
        page.get_by_role("button", name="Pause").click()
        held = page.locator(".tail .line").count()
        world.service.fetch(world.source.content("/unseen.bin", 10))
        expect(page.get_by_role("button", name=re.compile(r"Go on \(\d+ new\)"))).to_be_visible()
        assert page.locator(".tail .line").count() == held
        page.get_by_role("button", name=re.compile("Go on")).click()
        expect(page.locator(".tail")).to_contain_text("unseen.bin")
        page.get_by_placeholder("Text").fill("logged.bin")
        expect(page.locator(".tail")).not_to_contain_text("unseen.bin")
    world.service.fetch(world.source.content("/later.bin", 10))
    assert "Traceback" not in world.service.log


@pytest.mark.parametrize(("theme", "size"), [("light", WIDE), ("dark", WIDE), ("dark", PHONE)])
def test_every_area_fits_and_is_accessible(
    world: World, theme: Theme, size: tuple[int, int]
) -> None:
    with opened(world.browser, world.service, size=size, theme=theme) as page:
        for area in AREAS:
            go(page, area)
            if area == "overview":
                expect(page.locator(".u-over")).to_have_count(4)
            shot(page, f"{area}-{theme}-{size[0]}")
            fits(page)
            accessible(page)


def test_it_is_used_by_keys_alone(world: World) -> None:
    with opened(world.browser, world.service) as page:
        page.keyboard.press("Tab")
        expect(page.get_by_text("To the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.get_by_role("button", name="Add", exact=True).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Links, one a line")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="Add", exact=True)).to_be_focused()


def test_a_lost_connection_is_shown_and_heals(world: World) -> None:
    with opened(world.browser, world.service, excused="ERR_|Failed to load|WebSocket") as page:
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        world.service.terminate()
        expect(page.get_by_text("No connection")).to_be_visible()
        shot(page, "lost")
        world.service.start()
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        done = world.service.fetch(world.source.content("/after.bin", 10))
        go(page, "tasks")
        expect(page.locator(f"[data-id='{done['id']}']").get_by_text("done")).to_be_visible()


def test_back_up_and_restore(world: World) -> None:
    service = world.service
    kept = service.fetch(world.source.content("/before.bin", 10))
    with opened(world.browser, service, "backups", excused="ERR_|Failed to load|WebSocket") as page:
        page.get_by_role("button", name="Make a backup").click()
        backup = page.locator(".backup").first
        expect(backup.get_by_text("good")).to_be_visible()
        backup.get_by_role("button", name="Verify").click()
        expect(page.get_by_text("It can be restored")).to_be_visible()
        shot(page, "backups")
        later = service.fetch(world.source.content("/since.bin", 10))
        backup.get_by_role("button", name="Restore").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("button", name="Restore")).to_be_disabled()
        name = dialog.locator(".typed").inner_text()
        dialog.get_by_label(re.compile("Type")).fill(name)
        shot(page, "restore")
        accessible(page)
        dialog.get_by_role("button", name="Restore").click()
        expect(page.get_by_text("starts again")).to_be_visible()
        expect(page.locator(".toast", has_text="The backup was restored")).to_be_visible(
            timeout=2 * browsing.PATIENCE
        )
        go(page, "tasks")
        expect(page.locator(f"[data-id='{kept['id']}']")).to_be_visible()
        expect(page.locator(f"[data-id='{later['id']}']")).to_have_count(0)
