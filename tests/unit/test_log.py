import io
import json
from collections.abc import Iterator

import pytest
import structlog

from reconciler import log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def written(form: str = "json", level: str = "info") -> tuple[io.StringIO, log.RateLimit]:
    stream = io.StringIO()
    log.configure(form, level, stream)
    return stream, log.RateLimit()


HOSTILE = "a\nb\r\x1b[31m\u202e\0\u2028"


class TestJson:
    def test_a_line_is_one_object_with_time_and_level(self) -> None:
        stream, _ = written()
        log.get_logger().info(log.LINK_CHANGED, recipient="web", new="10.0.0.2", old=None)
        line = json.loads(stream.getvalue())
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "link.changed",
            "level": "info",
            "recipient": "web",
            "new": "10.0.0.2",
            "old": None,
        }

    def test_whatever_a_value_is(self) -> None:
        stream, _ = written()
        log.get_logger().info(
            "x", text=HOSTILE, thing=object(), many={"a": (1, 2)}, error=OSError()
        )
        assert stream.getvalue().count("\n") == 1
        assert json.loads(stream.getvalue())["text"] == HOSTILE

    def test_an_exception_is_one_line_too(self) -> None:
        stream, _ = written()
        try:
            int(HOSTILE)
        except ValueError:
            log.get_logger().exception("x")
        assert stream.getvalue().count("\n") == 1
        assert "ValueError" in json.loads(stream.getvalue())["exception"]


class TestConsole:
    def test_is_for_people(self) -> None:
        stream, _ = written("console")
        log.get_logger().warning(log.ENGINE_LOST, reason="gone")
        assert "engine.lost" in stream.getvalue()
        assert "gone" in stream.getvalue()
        assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(level: str, wanted: list[str]) -> None:
    stream, _ = written(level=level)
    for each in ("debug", "info", "warning", "error"):
        getattr(log.get_logger(), each)("x")
    said = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert said == wanted


class TestRateLimit:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
        now = [100.0]
        monkeypatch.setattr("reconciler.log.time.monotonic", lambda: now[0])
        yield now
        monkeypatch.undo()

    def burst(self, limit: log.RateLimit, subject: str, lines: int) -> int:
        return sum(limit.allows(subject)[0] for _ in range(lines))

    def test_a_burst_and_no_more(self, clock: list[float]) -> None:
        limit = log.RateLimit()
        assert self.burst(limit, "web", 1000) == log.BURST
        clock[0] += 10
        assert self.burst(limit, "web", 1000) == 10 * log.RATE

    def test_each_for_itself(self, clock: list[float]) -> None:
        del clock
        limit = log.RateLimit()
        assert self.burst(limit, "web", 1000) == log.BURST
        assert self.burst(limit, "api", 10) == 10

    def test_says_once_how_many_were_not_said(self, clock: list[float]) -> None:
        limit = log.RateLimit()
        self.burst(limit, "web", log.BURST + 7)
        clock[0] += 1
        assert limit.allows("web") == (True, 7)
        assert limit.allows("web") == (True, 0)

    def test_rest_saves_up_no_more_than_a_burst(self, clock: list[float]) -> None:
        limit = log.RateLimit()
        limit.allows("web")
        clock[0] += 1e6
        assert self.burst(limit, "web", 1000) == log.BURST

    def test_remembers_not_everybody(self, clock: list[float]) -> None:
        del clock
        limit = log.RateLimit()
        for number in range(20_000):
            limit.allows(str(number))
        assert len(limit._buckets) < 10_000
