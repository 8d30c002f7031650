import pytest

from reconciler.links.declare import LABELS
from reconciler.links.options import (
    MOST_NAMES,
    POWERS,
    OnChange,
    OptionError,
    env_copies,
    env_file,
    host_names,
    label_problems,
    on_change,
    power_of,
    private,
)
from tests.builders import container


class TestLabelProblems:
    @pytest.mark.parametrize(
        ("name", "value", "meant"),
        [
            ("relinkd.link", "db", "relinkd.links"),
            ("relinkd.waitfor", "healthy", "relinkd.wait-for"),
            ("relinkd.wait-for", "health", "healthy"),
            ("relinkd.family", "5", "both"),
            ("relinkd.enable", "no", "false"),
        ],
    )
    def test_says_what_was_meant(self, name: str, value: str, meant: str) -> None:
        (problem,) = label_problems(container("web", labels={name: value}))
        assert name in problem
        assert meant in problem

    def test_none(self) -> None:
        good = {
            "relinkd.links": "db",
            "relinkd.wait-for": "healthy",
            "relinkd.enable": "true",
            "relinkd.family": "both",
            "other.links": "x",
        }
        assert good.keys() > set(LABELS)
        assert list(label_problems(container("web", labels=good))) == []

    def test_hostile_names_are_quoted(self) -> None:
        labels = {"relinkd.\x1b[31m\n" + "x" * 1000: "", "relinkd.family": "\u202e"}
        for problem in label_problems(container("web", labels=labels)):
            assert problem.isascii()
            assert problem.isprintable()
            assert len(problem) < 200

    @pytest.mark.parametrize(
        ("name", "value", "power"),
        [
            ("relinkd.env-file", "/links.env", "env-file"),
            ("relinkd.on-change", "signal:HUP", "signal"),
            ("relinkd.on-change", "exec:nginx -s reload", "exec"),
            ("relinkd.on-change", "restart", "restart"),
            ("relinkd.private", "true", "private"),
            ("relinkd.host-names", "db.docker", "host-names"),
        ],
    )
    def test_what_is_not_allowed_is_said_with_what_would(
        self, name: str, value: str, power: str
    ) -> None:
        asking = container("web", labels={name: value})
        (problem,) = label_problems(asking)
        assert problem.startswith(f"{name}: ")
        assert f"--allow {power}" in problem
        assert list(label_problems(asking, POWERS)) == []

    def test_copies_need_a_file(self) -> None:
        labels = {"relinkd.env-copies": "all"}
        (problem,) = label_problems(container("web", labels=labels), POWERS)
        assert "relinkd.env-file" in problem
        both = {**labels, "relinkd.env-file": "/x"}
        assert list(label_problems(container("web", labels=both), POWERS)) == []


class TestEnvFile:
    @pytest.mark.parametrize("path", ["/links.env", "/run/links/all.env", "/a-b_c+d@e/.env"])
    def test_path(self, path: str) -> None:
        assert env_file({"relinkd.env-file": path}) == path

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "links.env",
            "/",
            "/a/",
            "//a",
            "/../etc/shadow",
            "/a/./b",
            "/a b",
            "/a\n",
            "/a\0b",
            "/\u202e",
            "/$(id)",
            "/etc/hosts",
            "/proc/1/environ",
            "/dev/sda",
            "/" + "x" * 300,
        ],
    )
    def test_no_path(self, path: str) -> None:
        with pytest.raises(OptionError, match=r"relinkd\.env-file"):
            env_file({"relinkd.env-file": path})

    def test_copies(self) -> None:
        assert env_copies({}) == frozenset()
        assert env_copies({"relinkd.env-copies": "all"}) == "all"
        assert env_copies({"relinkd.env-copies": "A, B_2 c"}) == frozenset({"A", "B_2", "c"})

    @pytest.mark.parametrize("text", ["A=1", "all B-C", "$(id)", "2A"])
    def test_no_copies(self, text: str) -> None:
        with pytest.raises(OptionError, match=r"relinkd\.env-copies"):
            env_copies({"relinkd.env-copies": text})


class TestOnChange:
    @pytest.mark.parametrize(
        ("text", "meant"),
        [
            ("signal:HUP", OnChange("signal", ("kill", "-HUP", "1"))),
            ("signal: sighup", OnChange("signal", ("kill", "-HUP", "1"))),
            ("signal:10", OnChange("signal", ("kill", "-10", "1"))),
            ("restart", OnChange("restart")),
            ("exec:nginx -s reload", OnChange("exec", ("nginx", "-s", "reload"))),
            (
                "exec:sh -c 'echo \"$A\" > /x; id'",
                OnChange("exec", ("sh", "-c", 'echo "$A" > /x; id')),
            ),
            ("exec:echo $(id) `id` | tee", OnChange("exec", ("echo", "$(id)", "`id`", "|", "tee"))),
        ],
    )
    def test_meaning(self, text: str, meant: OnChange) -> None:
        assert on_change({"relinkd.on-change": text}) == meant

    def test_none(self) -> None:
        assert on_change({}) is None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "signal",
            "signal:",
            "signal:-9 1",
            "signal:99",
            "exec:",
            "exec:'x",
            "exec:''",
            "restart:now",
            "reload",
            "kill:HUP",
            "exec:a\0b",
        ],
    )
    def test_no_meaning(self, text: str) -> None:
        with pytest.raises(OptionError, match=r"relinkd\.on-change"):
            on_change({"relinkd.on-change": text})


class TestOthers:
    def test_private(self) -> None:
        assert private({"relinkd.private": " True"})
        assert not private({"relinkd.private": "false"})
        assert not private({})
        with pytest.raises(OptionError, match="neither true nor false"):
            private({"relinkd.private": "yes"})

    def test_host_names(self) -> None:
        assert host_names({"relinkd.host-names": "A.docker, b.docker a.docker"}) == (
            "a.docker",
            "b.docker",
        )
        assert host_names({}) == ()

    @pytest.mark.parametrize(
        "text", ["localhost", "a b#c", "x" * 300, " ".join(f"n{n}" for n in range(MOST_NAMES + 1))]
    )
    def test_no_host_names(self, text: str) -> None:
        with pytest.raises(OptionError, match=r"relinkd\.host-names"):
            host_names({"relinkd.host-names": text})

    def test_what_asks_for_nothing_needs_no_power(self) -> None:
        assert power_of("relinkd.private", {"relinkd.private": "false"}) is None
        assert power_of("relinkd.host-names", {"relinkd.host-names": " "}) is None
