import io
import json
import re
from collections.abc import Iterator
from logging import WARNING

import pytest
import structlog
from structlog.testing import capture_logs

from reconciler import log
from reconciler.contract import Trigger
from tests.builders import World, container, id_of


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

    def test_a_line_is_one_write(self) -> None:
        """Else a kill between two leaves a line without an end, where Python does not buffer."""
        writes: list[bytes] = []

        class Unbuffered(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: bytes) -> int:  # type: ignore[override]  # narrower than a buffer
                writes.append(bytes(data))
                return len(data)

        with io.TextIOWrapper(Unbuffered(), "utf-8", write_through=True) as stream:  # type: ignore[type-var]  # as `python -u`
            log.configure("json", "info", stream)
            log.get_logger().info("x")
            log.get_logger().info("y")
        assert [json.loads(each)["event"] for each in writes] == ["x", "y"]
        assert all(each.endswith(b"\n") for each in writes)

    def test_an_exception_is_one_line_too(self) -> None:
        stream, _ = written()
        try:
            int(HOSTILE)
        except ValueError:
            log.get_logger().exception("x")
        assert stream.getvalue().count("\n") == 1
        assert "ValueError" in json.loads(stream.getvalue())["exception"]


class TestConsole:
    def said(self, event: str = "x", **values: object) -> str:
        stream, _ = written("console")
        log.get_logger().info(event, **values)
        line = stream.getvalue()
        assert line.count("\n") == 1
        return line.rstrip("\n")

    def test_when_how_bad_what_about_whom_and_the_rest(self) -> None:
        line = self.said(log.LINK_CHANGED, alias="db", old=None, new="10.0.0.2", recipient="web")
        when, rest = line.split(" ", 1)
        assert re.fullmatch(r"\d\d:\d\d:\d\d", when)
        assert rest == "info    link.changed recipient=web alias=db old=none new=10.0.0.2"

    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            (None, "none"),
            (True, "yes"),
            ([], "none"),
            (("exec", "signal"), "exec,signal"),
            ({"a": 1}, "a:1"),
            (1.5, "1.5"),
            ("two words", '"two words"'),
            ("", '""'),
            (OSError(2, "No such file"), '"[Errno 2] No such file"'),
        ],
    )
    def test_no_value_looks_like_pythons(self, value: object, shown: str) -> None:
        assert self.said(value=value).endswith(f" x value={shown}")

    def test_whoever_chose_a_value_it_stays_on_its_line(self) -> None:
        line = self.said(log.LABEL_PROBLEM, problem=HOSTILE, container=HOSTILE)
        assert line.isprintable()
        assert line.isascii()

    def test_an_exception_is_told_below(self) -> None:
        stream, _ = written("console")
        try:
            int("x")
        except ValueError:
            log.get_logger().exception("failed")
        first, second, *_ = stream.getvalue().splitlines()
        assert first.endswith("error   failed")
        assert second.startswith("Traceback")


class TestAuto:
    def test_json_where_nobody_sits(self) -> None:
        stream, _ = written("auto")
        log.get_logger().info("x")
        assert json.loads(stream.getvalue())["event"] == "x"

    def test_for_people_on_a_terminal(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        stream = Terminal()
        log.configure("auto", "info", stream)
        log.get_logger().info("x")
        assert stream.getvalue().endswith("info    x\n")


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_event_comes_first_and_then_whom_it_concerns(form: str) -> None:
    stream, _ = written(form)
    log.get_logger().bind(file="f").info(log.LINK_STATE, state="down", recipient="web")
    line = stream.getvalue()
    places = [line.index(each) for each in ("link.state", "recipient", "file", "down")]
    assert places == sorted(places)


def test_the_last_change_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_last_change", {})
    written()
    assert log.last_change() is None
    log.get_logger().info(log.LINK_CHANGED, recipient="web", alias="db")
    log.get_logger().info(log.LINK_STATE, recipient="api")
    last = log.last_change()
    assert last is not None
    assert (last["recipient"], last["alias"]) == ("web", "db")


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

    def test_of_one_that_is_gone_nothing_is_remembered(self, clock: list[float]) -> None:
        del clock
        limit = log.RateLimit()
        self.burst(limit, "web", 1000)
        for _ in range(2):
            limit.forget("web")
        assert limit.allows("web") == (True, 0)
        assert self.burst(limit, "web", 1000) == log.BURST - 1


class TestReporter:
    @pytest.fixture
    def reporter(self) -> log.Reporter:
        world = World()
        world.add(container("web"))
        return log.Reporter(world.mirror)

    def say(self, reporter: log.Reporter, of: str = "web", event: str = "x") -> None:
        reporter.say(WARNING, id_of(of), event, subject="recipient", reason="why")

    def test_names_the_container(self, reporter: log.Reporter) -> None:
        with capture_logs() as lines:
            self.say(reporter)
            self.say(reporter, "gone")
            reporter.say(WARNING, "a file", "x", subject="file")
        assert lines[0] == {
            "event": "x",
            "log_level": "warning",
            "recipient": "web",
            "reason": "why",
        }
        assert (lines[1]["recipient"], lines[2]["file"]) == (id_of("gone")[:12], "a file")

    def test_says_how_many_lines_were_dropped(self, reporter: log.Reporter) -> None:
        with capture_logs() as lines:
            for _ in range(1000):
                self.say(reporter)
            reporter.forget(id_of("web"))
            self.say(reporter)
        assert log.BURST < len(lines) < 2 * log.BURST

    def test_held_lines_follow_in_their_order_also_after_an_error(
        self, reporter: log.Reporter
    ) -> None:
        def work() -> None:
            with reporter.held():
                for event in ("a", "b"):
                    with reporter.held():
                        self.say(reporter, event=event)
                    assert lines == []
                raise ZeroDivisionError

        with capture_logs() as lines:
            with pytest.raises(ZeroDivisionError):
                work()
            assert [line["event"] for line in lines] == ["a", "b"]


def test_the_cause_is_the_engines_latest_event_or_our_last() -> None:
    world = World()
    world.add(container("db"))
    early, late = (Trigger(each, id_of("db"), "", at) for each, at in (("connect", 5), ("die", 3)))
    ours = Trigger("file"), Trigger("resync")
    found = log.cause([early, late, *ours], world.mirror)
    assert (found["cause"], found["of"]) == ("connect", "db")
    assert found["after_ms"] > 0  # type: ignore[operator] # a number
    assert log.cause(ours, world.mirror) == {"cause": "resync"}
    assert log.cause((), world.mirror) == {}
    gone = Trigger("destroy", id_of("gone"), "gone")
    assert log.cause([gone], world.mirror) == {"cause": "destroy", "of": "gone"}
