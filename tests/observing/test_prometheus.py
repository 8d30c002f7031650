"""The rules by promtool; rules and dashboard by a Prometheus that scrapes a relinkd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.engine.stack import Stack, daemon, until
from tests.fakes.engine import FakeEngine
from tests.faults.test_metrics import free_port
from tests.observing.conftest import ROOT, ran

Tool = Callable[..., list[str]]
RULES = ROOT / "deploy/prometheus/relinkd.rules.yml"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/relinkd.json").read_text())
PAGE = (ROOT / "docs/observing.md").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())


def queries() -> list[tuple[str, str]]:
    """Return each query of the dashboard with the title of what it is for."""
    found = [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    return found + [(each["name"], each["expr"]) for each in DASHBOARD["annotations"]["list"]]


def test_promtool_accepts_the_rules_and_their_tests_pass(tool: Tool, tmp_path: Path) -> None:
    promtool = tool("prometheus", "promtool")
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).with_name("relinkd.rules.test.yml"), tmp_path)
    checked = ran([*promtool, "check", "rules", RULES.name], tmp_path)
    assert checked.returncode == 0, checked.stderr
    tested = ran([*promtool, "test", "rules", "relinkd.rules.test.yml"], tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_a_test_and_its_paragraph() -> None:
    tests = Path(__file__).with_name("relinkd.rules.test.yml").read_text()
    for alert in ALERTS:
        assert re.search(rf"alertname: {alert}\n.*\n +exp_alerts:", tests), alert
    assert re.findall(r"^\| `(Relinkd\w+)`", PAGE, re.MULTILINE) == ALERTS


@dataclass
class Prometheus:
    """A Prometheus that scrapes one relinkd each second."""

    port: int

    def get(self, path: str, **query: str) -> Any:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", f"/api/v1/{path}?{urlencode(query)}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        return answer["data"]

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Return what a query finds now; a wrong one fails."""
        found: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return found

    def value(self, expr: str) -> float | None:
        found = self.ask(expr)
        return float(found[0]["value"][1]) if found else None

    def pending(self) -> set[str]:
        """Return the alerts that would fire if this lasted."""
        return {each["labels"]["alertname"] for each in self.get("alerts")["alerts"]}


@pytest.fixture
def prometheus(tool: Tool, tmp_path: Path) -> Iterator[Callable[[int], Prometheus]]:
    started: list[subprocess.Popen[bytes]] = []
    argv = tool("prometheus", "prometheus")

    def start(relinkd: int) -> Prometheus:
        # The example of the page, but for the address and what a test has no time for.
        (scrape,) = re.findall(
            r"^```yaml prometheus\.yml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
        )
        config = scrape.replace("relinkd:9090", f"127.0.0.1:{relinkd}")
        assert config != scrape
        folder = tmp_path / "prometheus"
        folder.mkdir()
        shutil.copy(RULES, folder)
        fast = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
        (folder / "prometheus.yml").write_text(fast + config)
        port = free_port()
        options = [
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            started.append(subprocess.Popen([*argv, *options], cwd=folder, stdout=log, stderr=log))
        found = Prometheus(port)

        def up() -> bool:
            assert started[-1].poll() is None, (folder / "log").read_text()
            try:
                return found.value("up") == 1
            except (OSError, ValueError):  # it does not listen yet, or says so in words
                return False

        until(up, "the first scrape")
        return found

    yield start
    for process in started:
        process.terminate()
        process.wait(30)


def test_every_query_finds_what_it_is_for(
    fake: FakeEngine, tmp_path: Path, prometheus: Callable[[int], Prometheus]
) -> None:
    port = free_port()
    with daemon(
        fake.socket, fake.containers_dir, tmp_path, f"--listen=127.0.0.1:{port}", recorded=False
    ) as relinkd:
        stack = Stack(fake.client, fake.containers_dir, relinkd)
        db = stack.run("db")
        stack.run("web", "db")
        found = prometheus(port)
        until(lambda: found.value("relinkd_link_changes_total") == 1, "the link")
        stack.client.stop(db)
        stack.client.start(db)
        until(lambda: found.value("increase(relinkd_link_changes_total[1m])"), "a rate")

        # What the page offers to choose from, and then every query for each and for all.
        (instances,) = [
            each for each in DASHBOARD["templating"]["list"] if each["name"] == "instance"
        ]
        series, label = re.fullmatch(
            r"label_values\((.+), (\w+)\)", instances["query"]["query"]
        ).groups()  # type: ignore[union-attr] # a query of another form fails here
        chosen = found.get(f"label/{label}/values", **{"match[]": series})
        assert chosen == [f"127.0.0.1:{port}"]
        for title, expr in queries():
            for instance in (*chosen, instances["allValue"]):
                asked = expr.replace("$instance", instance).replace("$__rate_interval", "1m")
                assert "$" not in asked, title
                if title == "Starts":  # nobody started it again: the query must only be right
                    assert found.ask(asked) == []
                    assert found.ask(asked.replace(" > 0", "")) != []
                    continue
                assert found.ask(asked), f"{title}: {asked}"
        value = {title: expr.replace("$instance", ".*") for title, expr in queries()}
        assert found.value(value["Engine"]) == 1
        assert found.value(value["Recipients"]) == 1
        assert found.value(value["Containers"]) == 2
        until(lambda: found.value(value["Hosts files out of step"]) == 0, "every file right")
        assert 0 <= (found.value(value["Age of the view"]) or 0) < 120

        # Every rule works on what is scraped, and none has anything to say.
        (group,) = found.get("rules")["groups"]
        assert [rule["name"] for rule in group["rules"]] == ALERTS
        until(lambda: all_judged(found), "every rule")
        until(lambda: found.pending() == set(), "no alert")

        fake.stop_listening()
        until(lambda: found.pending() == {"RelinkdEngineGone"}, "the engine's alert")
        assert found.value(value["Engine"]) == 0
        fake.listen_again()
        until(lambda: found.pending() == set(), "no alert")

        hosts = fake.containers_dir / stack.client.inspect(stack.name("web"))["Id"] / "hosts"
        hosts.unlink()
        hosts.mkdir()
        stack.client.stop(db)
        until(lambda: found.pending() == {"RelinkdRecipientsFail"}, "the recipient's alert")
        hosts.rmdir()
        assert relinkd.stop() == 0
        until(lambda: found.pending() == {"RelinkdGone"}, "its own alert")
        relinkd.start()


def all_judged(prometheus: Prometheus) -> bool:
    """Whether each rule was evaluated, and none failed."""
    (group,) = prometheus.get("rules")["groups"]
    assert not any(rule.get("lastError") for rule in group["rules"])
    return all(rule["health"] == "ok" for rule in group["rules"])


def test_the_dashboard_is_as_grafana_wants_it() -> None:
    """Grafana itself is in no Debian: what its model demands is held here."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert panel["description"]
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert {"datasource", "instance"} == {each["name"] for each in DASHBOARD["templating"]["list"]}
