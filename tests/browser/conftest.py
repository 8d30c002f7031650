"""A browser, and a relinkd beside the fake engine whose page it shows.

Debian's Chromium, driven by Playwright: `make test` installs both, and axe-core.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.engine.stack import Stack, daemon, until
from tests.fakes.engine import FakeEngine
from tests.faults.test_metrics import free_port
from tests.lab.packages import browser

PICTURES = os.environ.get("PICTURES")
"""A folder to keep the screenshots in: `PICTURES=docs/page`."""


def missing() -> str | None:
    """Return what is not here to test the page with; in CI everything is, or the tests fail."""
    if os.environ.get("CI") == "true":
        return None
    if importlib.util.find_spec("playwright") is None:
        return "no Playwright (make test installs it)"
    return None if browser() else "no Chromium (make test installs it)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser that all tests share.

    Not for the session: until it ends, Playwright's loop counts as this thread's running one, and
    every asyncio test that the same worker plays after these would fail.
    """
    api: Any = importlib.import_module("playwright.sync_api")
    with api.sync_playwright() as playwright:
        # Chromium has no sandbox as root, which the fake engine's tests may be.
        started = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Site:
    """The page of a relinkd, in a browser."""

    stack: Stack
    port: int
    browser: Any
    pictures: Path
    faults: list[str] = field(default_factory=list)
    pages: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def open(self, *, phone: bool = False, loaded: bool = True) -> Any:
        """Open the page as on a phone or a desktop; what the browser complains of is a fault."""
        page = self.browser.new_page(
            viewport={"width": 390, "height": 780} if phone else {"width": 1200, "height": 800},
            reduced_motion="reduce",  # so that a picture has no mark that is just fading
        )
        self.pages.append(page)
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._said)
        if loaded:
            page.goto(self.url)
            page.wait_for_selector("#rows tr:visible")
        return page

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(message.text)

    def picture(self, page: Any, name: str, *, whole: bool) -> None:
        """Keep what is seen, or the whole page."""
        path = Path(PICTURES or self.pictures) / f"{name}.png"
        page.screenshot(path=path, full_page=whole)

    def close(self) -> None:
        """Close what a test opened; nothing may have been complained of."""
        found = self.faults.copy()
        self.faults.clear()
        while self.pages:
            self.pages.pop().close()
        assert found == []


@contextmanager
def shop(chromium: Any, folder: Path) -> Iterator[Site]:
    """Run a relinkd with links that stand, and one of each kind that does not."""
    port = free_port()
    with (
        FakeEngine("28", socket=folder / "docker.sock", root=folder) as fake,
        daemon(
            fake.socket, fake.containers_dir, folder, f"--listen=127.0.0.1:{port}", recorded=False
        ) as relinkd,
    ):
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        stack.prefix = ""  # names as people give them, in the pictures too
        for name in ("db", "cache"):
            stack.run(name)
        stack.client.stop(stack.run("mail"))
        stack.run("api", "db cache mail")
        stack.run("web", "api db:store search")
        stack.run("batch", labels={"relinkd.links": "db:localhost"})
        web = stack.name_id("web")
        until(lambda: "api" in stack.hosts(web), "links of web")
        yield Site(stack, port, chromium, folder)


@pytest.fixture
def site(chromium: Any, tmp_path: Path) -> Iterator[Site]:
    """A shop for one test, which may change it."""
    with shop(chromium, tmp_path) as found:
        yield found
        found.close()


@pytest.fixture(scope="module")
def shared(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with shop(chromium, tmp_path_factory.mktemp("shop")) as found:
        yield found


@pytest.fixture
def still(shared: Site) -> Iterator[Site]:
    """The shop of all tests that change nothing."""
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, as the package for Playwright has it."""
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text()
