"""Laws of variables, and that what reads the formats gets the same values."""

import re
import subprocess

from hypothesis import given
from hypothesis import strategies as st

from reconciler.links.variables import STYLES, Style, Variable, variables, written
from tests.builders import patient

styles = st.sampled_from(STYLES)
aliases = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,8}", fullmatch=True)
numbers = st.integers(1, 12) | st.integers(1, 65535)
ports = st.builds("{}/{}".format, numbers, st.sampled_from(["tcp", "udp", "sctp"]))
port_sets = st.lists(ports, unique=True, max_size=12)
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
hostile = text | st.text("ab '\"\\$`#\n\t=;", max_size=12)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,6}", fullmatch=True) | text
told = st.lists(st.tuples(names.map("X_{}".format), hostile), max_size=8)


@given(styles, aliases, st.permutations(["80/tcp", "81/tcp", "53/udp", "82/udp", "53/sctp"]))
def test_the_order_in_which_ports_are_exposed_is_nothing(
    style: Style, alias: str, exposed: list[str]
) -> None:
    name = f"/web/{alias}"
    assert variables(style, name, "10.0.0.2", exposed) == variables(
        style, name, "10.0.0.2", sorted(exposed)
    )


@given(styles, aliases, port_sets)
def test_each_port_is_told_whole_and_in_parts(style: Style, alias: str, exposed: list[str]) -> None:
    found = dict(variables(style, f"/web/{alias}", "10.0.0.2", exposed))
    urls = {value for key, value in found.items() if re.search(r"_PORT_\d+_(TCP|UDP|SCTP)$", key)}
    assert urls == {
        f"{protocol}://10.0.0.2:{number}"
        for number, protocol in (each.split("/") for each in exposed)
    }
    for key, value in found.items():
        if re.search(r"_PORT_\d+_(TCP|UDP|SCTP)$", key):
            parts = (found[f"{key}_{part}"] for part in ("PROTO", "ADDR", "PORT"))
            assert "{}://{}:{}".format(*parts) == value
    (name,) = (value for key, value in found.items() if key.endswith("_NAME"))
    assert name == f"/web/{alias}"


@given(aliases, port_sets)
def test_documented_names_are_of_their_characters_and_each_is_said_once(
    alias: str, exposed: list[str]
) -> None:
    found = variables("documented", f"/web/{alias}", "10.0.0.2", exposed)
    assert all(re.fullmatch(r"[A-Z0-9_]+", key) for key, _ in found)
    assert len({key for key, _ in found}) == len(found) == 1 + bool(exposed) + 4 * len(exposed)


@given(styles, aliases, port_sets)
def test_no_name_has_two_values(style: Style, alias: str, exposed: list[str]) -> None:
    found = variables(style, f"/web/{alias}", "10.0.0.2", exposed)
    assert len(dict(found)) == len(set(found))


@given(styles, aliases, port_sets, st.lists(text | st.builds("{}={}".format, names, text)))
def test_copies_are_added_behind_and_only_where_they_are_asked_for(
    style: Style, alias: str, exposed: list[str], env: list[str]
) -> None:
    without = variables(style, f"/web/{alias}", "10.0.0.2", exposed)
    found = variables(style, f"/web/{alias}", "10.0.0.2", exposed, env)
    assert found[: len(without)] == without
    copied = [f"{key.partition('_ENV_')[2]}={value}" for key, value in found[len(without) :]]
    assert copied == [
        each for each in env if "=" in each and each.partition("=")[0] not in ("HOME", "PATH")
    ]


@patient(max_examples=60)
@given(told)
def test_a_shell_has_the_values_afterwards(told: list[Variable]) -> None:
    done = written("export", told)
    script = "\n".join([*done.lines, "exec /usr/bin/env -0"])
    shell = subprocess.run(
        ["/bin/sh"], input=script.encode(), env={}, capture_output=True, check=True
    )
    entries = (entry.partition("=") for entry in shell.stdout.decode().split("\0"))
    has = {key: value for key, _, value in entries if key.startswith("X_")}
    assert has == {key: value for key, value in told if key not in done.left_out}
    assert all(not re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) for key in done.left_out)


def read_dotenv(text: str) -> list[Variable]:
    """Read as Compose does, where quotes end at their like, and take no escape at all."""
    found = []
    while text:
        name, _, rest = text.partition("=")
        quote = rest[:1]
        if quote in ("'", '"') and quote:
            value, _, text = rest[1:].partition(quote)
            assert "\\" not in value
            assert text[:1] == "\n"
            text = text[1:]
        else:
            value, _, text = rest.partition("\n")
            assert value == value.strip()
        found.append((name, value))
    return found


@given(told)
def test_a_dotenv_file_is_read_as_it_was_meant(told: list[Variable]) -> None:
    done = written("dotenv", told)
    kept = read_dotenv("".join(f"{line}\n" for line in done.lines))
    assert all(pair in told for pair in kept)
    assert len(kept) == len(done.lines)
    assert {key for key, _ in told} == {key for key, _ in kept} | set(done.left_out)


@given(styles, aliases, port_sets)
def test_a_links_own_variables_need_no_quotes_in_a_dotenv_file(
    style: Style, alias: str, exposed: list[str]
) -> None:
    found = variables(style, f"/web/{alias}", "10.0.0.2", exposed)
    assert written("dotenv", found).lines == tuple(f"{key}={value}" for key, value in found)
