"""The variables as a file: its text, and where it cannot be."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.features.env_file.content import END, below, content, copies_of, path_of, problem
from reconciler.links.variables import copied
from tests.builders import container, patient
from tests.unit.env_file_parts import FILE, LABEL
from watchers.model import Container


def shaped(
    path: str = FILE,
    *,
    read_only: bool = False,
    writable: Sequence[str] = (),
    mounts: Sequence[str] = (),
    tmpfs: Sequence[str] = (),
) -> Container:
    """A container with file systems; `mounts` may only be read."""
    made = container("web", labels={"relinkd.env-file": path}, mounts=(*writable, *mounts))
    assert made.detail is not None
    detail = replace(
        made.detail, read_only=read_only, writable=frozenset(writable), tmpfs=frozenset(tmpfs)
    )
    return replace(made, detail=detail)


class TestWhereItCannotBe:
    @pytest.mark.parametrize(
        "fine",
        [
            shaped(),
            shaped("/data/x", writable=["/data"]),
            shaped("/data/x", read_only=True, writable=["/data"]),
            shaped("/data/x", read_only=True, writable=["/data/"]),
            shaped("/ro/rw/x", mounts=["/ro"], writable=["/ro/rw"]),
            shaped("/run/data/x", tmpfs=["/run"], writable=["/run/data"]),
            shaped("/running", tmpfs=["/run"]),
            shaped("/x", mounts=["/"]),
        ],
    )
    def test_it_can_be(self, fine: Container) -> None:
        assert problem(fine) is None

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            (shaped(read_only=True), "read-only root"),
            (shaped("/data/x", read_only=True, writable=["/dat"]), "read-only root"),
            (shaped("/run/x", tmpfs=["/run"]), "below /run, a file system in memory"),
            (shaped("/run/a/x", tmpfs=["/run/"]), "below /run, a file system in memory"),
            (shaped("/data/t/x", tmpfs=["/data/t"], writable=["/data"]), "below /data/t, a file"),
            (shaped("/ro/x", mounts=["/ro"]), "below /ro, which is mounted read-only"),
            (shaped("/rw/ro/x", mounts=["/rw/ro"], writable=["/rw"]), "below /rw/ro, which is"),
            (shaped(mounts=[FILE]), "is a mount itself"),
            (shaped(writable=[FILE]), "is a mount itself"),
            (shaped(tmpfs=[FILE]), "is a mount itself"),
        ],
    )
    def test_it_cannot_be(self, shape: Container, words: str) -> None:
        reason = problem(shape)
        assert reason is not None
        assert reason.startswith(f"relinkd.env-file: {path_of(shape)} is ")
        assert words in reason

    @pytest.mark.parametrize(
        "labels",
        [
            {},
            {"relinkd.env-file": "relative"},
            {"relinkd.env-file": "/etc/hosts"},
            {**LABEL, "relinkd.enable": " False "},
        ],
    )
    def test_who_wants_none_has_no_problem_with_it(self, labels: Mapping[str, str]) -> None:
        made = replace(shaped(read_only=True), labels=labels)
        assert path_of(made) is None
        assert problem(made) is None

    def test_the_mount_it_is_on_takes_it(self) -> None:
        assert below(shaped(), FILE) == "/"
        assert below(shaped(writable=["/data", "/data/deep"]), "/data/deep/a/x") == "/data/deep"
        assert below(shaped(writable=["/dat"]), "/data/x") == "/"


class TestContent:
    def test_the_last_line_says_that_it_is_all_there(self) -> None:
        assert content([]).data == f"{END}\n".encode()
        assert content([("A", "1")]).data == f"A='1'\n{END}\n".encode()

    def test_what_no_shell_takes_is_left_out_and_named(self) -> None:
        found = content([("1DB_PORT", "x"), ("DB_ENV_a b", "x"), ("DB_PORT", "x")])
        assert found.data == f"DB_PORT='x'\n{END}\n".encode()
        assert (found.variables, found.left_out) == (1, ("1DB_PORT", "DB_ENV_a b"))

    @patient(max_examples=60)
    @given(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30),
            max_size=5,
        )
    )
    def test_a_shell_reads_every_value_as_it_was(self, values: list[str]) -> None:
        file = content((f"V_{at}", value) for at, value in enumerate(values)).data
        show = "".join(f'printf "%s\\0" "$V_{at}"\n' for at in range(len(values)))
        shell = subprocess.run(
            ["sh", "-c", file.decode() + show], capture_output=True, check=True, timeout=30
        )
        assert shell.stdout == b"".join(value.encode() + b"\0" for value in values)
        assert shell.stderr == b""

    def test_copies(self) -> None:
        env = ["A=1", "AB=2", "B=A=3", "NONE"]
        assert copied(env, "all") == env
        assert copied(env, frozenset({"A", "B", "NO"})) == ["A=1", "B=A=3"]
        assert copied(env, frozenset()) == []
        assert copies_of(container("web")) == frozenset()
        assert copies_of(container("web", labels={"relinkd.env-copies": "all"})) == "all"
        assert copies_of(container("web", labels={"relinkd.env-copies": "A all!"})) == frozenset()
