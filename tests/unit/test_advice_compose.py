"""Compose files: variables, inheritance, what becomes of each key, and what is wrong with a file, by its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.advice.compose import Service
from twinhull.advice.interpolation import Malformed, dotenv, interpolate, tree
from twinhull.cli import compose
from twinhull.config import Config
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import extras
from twinhull.model import Health, Port, Request, Volume

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "else"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$SET-${SET}", "value-value"),
        ("$UNSET|${UNSET}", "|"),
        ("${EMPTY:-d}|${EMPTY-d}|${UNSET-d}", "d||d"),
        ("${SET:+yes}|${EMPTY:+yes}|${EMPTY+yes}|${UNSET+yes}", "yes||yes|"),
        ("${UNSET:-${OTHER}}", "else"),
        ("${UNSET:-${EMPTY:-deep}}", "deep"),
        ("${SET:?must be}", "value"),
        ("$$SET $$ ${UNSET:-$$}", "$SET $ $"),
        ("$1 $ {a} a$", "$1 $ {a} a$"),
        ("${UNSET:-a:b-c}", "a:b-c"),
    ],
)
def test_variables_are_replaced_as_compose_does(text: str, result: str) -> None:
    assert interpolate(text, VARIABLES) == result


@pytest.mark.parametrize("text", ["${SET", "${}", "${1}", "${SET/foo/bar}", "${UNSET?}", "${EMPTY:?said ${OTHER}}"])
def test_what_is_no_variable_or_must_be_set_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        tree({"a": ["x", text]}, VARIABLES)
    assert caught.value.path == ("a", 1)


@given(st.text("ab$:{}-?+SET", max_size=30))
def test_any_text_is_replaced_or_refused(text: str) -> None:
    try:
        assert isinstance(interpolate(text, VARIABLES), str)
    except Malformed:
        pass


def test_a_value_that_doubles_itself_is_refused() -> None:
    bomb = "x" * 100_000
    for _ in range(12):
        bomb = f"${{UNSET:-{bomb}}}"
    with pytest.raises(Malformed):
        interpolate(bomb * 11, {})


def test_dotenv_takes_quotes_and_comments_off() -> None:
    text = "# no\nA=1\nexport B='x # y' # z\nC=\"q\"\nD=v # w\n2=no\nE\n"
    assert dotenv(text) == {"A": "1", "B": "x # y", "C": "q", "D": "v"}


def write(folder: Path, text: str, name: str = "compose.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def read(folder: Path, text: str) -> dict[str, Service]:
    return {service.name: service for service in compose.read_application(write(folder, text)).services}


def request(folder: Path, text: str) -> Request:
    application = compose.read_application(write(folder, text))
    return compose.request_for(application.services[0], application, Config())


def test_a_service_becomes_the_request_that_run_would_make(tmp_path: Path) -> None:
    text = """
services:
  web:
    image: nginx:${TAG:-1}
    command: sh -c 'echo $$HOME'
    entrypoint: ["/run me", "-x"]
    environment: {A: "1", B: yes, C: null, D: true}
    ports: ["22:22", "127.0.0.1:80:80/udp", {target: 1, published: 2, protocol: tcp, host_ip: "::1"}]
    volumes: ["./data:/data:ro", {type: bind, source: /srv, target: /srv}]
    user: 1000
    working_dir: /w
    read_only: true
    tty: true
    stdin_open: "true"
    network_mode: none
    deploy: {resources: {limits: {memory: 64M, cpus: "0.5", pids: 5}}}
    labels: [a=b=c, flag]
"""
    found = request(tmp_path, text.replace("    network_mode: none\n", ""))
    assert found == Request(
        "nginx:1",
        ("sh", "-c", "echo $HOME"),
        name="web",
        entrypoint=("/run me", "-x"),
        environment=("A=1", "B=yes", "C", "D=true"),
        ports=(Port("", 22, 22), Port("127.0.0.1", 80, 80, "udp"), Port("::1", 2, 1)),
        volumes=(Volume(str(tmp_path / "data"), "/data", True), Volume("/srv", "/srv")),
        user="1000",
        workdir="/w",
        readonly=True,
        tty=True,
        interactive=True,
        memory_bytes=64 << 20,
        cpus=0.5,
        pids_limit=5,
        labels=(("a", "b=c"), ("flag", "")),
    )
    assert request(tmp_path, text.partition("    ports:")[0] + "    network_mode: host\n").network == "host"


def test_what_run_has_no_flag_for_is_asked_for_or_left_out_by_name(tmp_path: Path) -> None:
    text = """
services:
  a1:
    image: x
    privileged: true
    cap_add: [CHOWN, SYS_ADMIN]
    devices: ["/dev/dri:/dev/dri", {source: /dev/kvm}]
    gpus: all
    sysctls: [net.core.somaxconn=1]
    pid: host
    ipc: host
    security_opt: ["seccomp:unconfined", "no-new-privileges:true"]
    volumes: ["named:/data", "/anonymous"]
    network_mode: service:other
    tmpfs_mode: 1
    x-mine: 1
    depends_on: [other]
"""
    service = read(tmp_path, text)["a1"]
    assert {"--privileged", "--cap-add=SYS_ADMIN", "--security-opt=seccomp:unconfined"} <= set(service.flags)
    assert {"--device=/dev/dri:/dev/dri", "--device=/dev/kvm", "--sysctl=net.core.somaxconn=1"} <= set(service.flags)
    assert service.asks.devices == ("a GPU",)
    assert service.asks.namespaces == ("pid", "ipc")
    assert service.left_out == ("depends_on", "tmpfs_mode", "network_mode service:other")


@pytest.mark.parametrize(
    ("said", "health", "restart"),
    [
        ("restart: always", Health(), "always"),
        ("restart: no", Health(), ""),
        ('restart: "on-failure:3"', Health(), "on-failure:3"),
        (
            "healthcheck: {test: look here, interval: 1m30s, retries: 2}",
            Health(("CMD-SHELL", "look here"), 90_000, 0, 2),
            "",
        ),
        ("healthcheck: {test: [CMD, look, a b]}", Health(("CMD-SHELL", "look 'a b'")), ""),
        ("healthcheck: {test: [CMD-SHELL, a && b], timeout: 2s}", Health(("CMD-SHELL", "a && b"), 0, 2000), ""),
        ("healthcheck: {test: [NONE]}", Health(("NONE",)), ""),
        ("healthcheck: {disable: true, interval: 3s}", Health(("NONE",)), ""),
        ("healthcheck: {start_period: 1s, start_interval: 20ms}", Health((), 0, 0, 0, 1000, 20), ""),
    ],
)
def test_what_keeps_a_service_going_is_carried_over(tmp_path: Path, said: str, health: Health, restart: str) -> None:
    found = request(tmp_path, f"services:\n  a1:\n    image: x\n    {said}\n")
    assert (found.health, found.restart) == (health, restart)


@pytest.mark.parametrize("said", ["restart: [always]", "healthcheck: {test: [LOOK, x]}", "healthcheck: x"])
def test_what_keeps_a_service_going_must_have_its_form(tmp_path: Path, said: str) -> None:
    with pytest.raises(InvalidRequest):
        read(tmp_path, f"services:\n  a1:\n    image: x\n    {said}\n")


@pytest.mark.parametrize(
    ("label", "untrusted"),
    [("true", True), ('"true"', True), ("yes", True), ("anything", True), ("", True), ("false", False), ('"0"', False)],
)
def test_the_label_says_that_a_service_is_not_trusted(tmp_path: Path, label: str, untrusted: bool) -> None:
    text = f"services:\n  a1:\n    image: x\n    labels:\n      twinhull.untrusted: {label}\n"
    assert read(tmp_path, text)["a1"].untrusted is untrusted


def test_replicas_profiles_and_a_build(tmp_path: Path) -> None:
    text = "name: Shop\nservices:\n  a1: {build: ., profiles: [debug], deploy: {replicas: 3}}\n"
    text += "  b1: {image: x, scale: 2}\n"
    services = read(tmp_path, text)
    assert (services["a1"].image, services["a1"].profiles, services["a1"].replicas) == ("", ("debug",), 3)
    assert services["b1"].replicas == 2
    assert request(tmp_path, text).image == "shop-a1"


def test_anchors_merge_keys_and_what_services_extend(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write(
        tmp_path / "other",
        "services:\n  low:\n    image: low\n    cap_add: [SYS_TIME]\n    environment: [A=1, B=2]\n"
        '    volumes: ["./x:/x", "./y:/y"]\n    command: low\n',
        "base.yaml",
    )
    text = """
x-base: &base
  user: "7"
  cap_add: [NET_ADMIN]
services:
  top:
    <<: *base
    extends: {file: other/base.yaml, service: low}
    environment: {B: "3"}
    volumes: ["./z:/y"]
    command: top
  same:
    extends: top
    image: same
"""
    services = read(tmp_path, text)
    for name, image in (("top", "low"), ("same", "same")):
        found = services[name]
        assert found.image == image
        assert found.flags == ("--user=7", "--cap-add=SYS_TIME", "--cap-add=NET_ADMIN")
        assert found.environment == ("A=1", "B=3")
        assert found.volumes == (Volume(f"{tmp_path}/other/x", "/x"), Volume(f"{tmp_path}/z", "/y"))
        assert found.command == ("top",)


def test_included_files_bring_their_services_with_paths_and_variables_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    write(tmp_path / "db", "TAG=15\n", ".env")
    write(tmp_path / "db", "services:\n  db:\n    image: postgres:${TAG}\n    volumes: ['./data:/data']\n", "base.yaml")
    write(tmp_path / "db", "services:\n  db:\n    user: '${WHO}'\n", "more.yaml")
    write(tmp_path / "db", "WHO=7\nTAG=16\n", "own.env")
    write(tmp_path, "include: [db/base.yaml]\nservices:\n  cache: {image: redis}\n", "cache.yaml")
    first = read(tmp_path, "include: [cache.yaml]\nservices:\n  web: {image: nginx}\n")
    assert [(name, found.image) for name, found in first.items()] == [
        ("web", "nginx"), ("cache", "redis"), ("db", "postgres:15"),
    ]  # fmt: skip
    assert first["db"].volumes == (Volume(f"{tmp_path}/db/data", "/data"),)
    assert [found.file for found in first.values()] == ["", f"{tmp_path}/cache.yaml", f"{tmp_path}/db/base.yaml"]

    text = """
include:
  - path: [db/base.yaml, db/more.yaml]
    env_file: db/own.env
    project_directory: elsewhere
"""
    second = read(tmp_path, text)["db"]
    assert (second.image, second.flags) == ("postgres:16", ("--user=7",))
    assert second.volumes == (Volume(f"{tmp_path}/elsewhere/data", "/data"),)


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("include: [one.yaml]\nservices:\n  one: {image: b}\n", "compose.yaml:1", "the service one"),
        ("services:\n  two: {image: b}\ninclude: [compose.yaml]\n", "compose.yaml:3", "includes itself"),
        ("include:\n- https://example.org/a.git\n", "compose.yaml:2", "only files that are here"),
        ("include: none.yaml\n", "compose.yaml:1", "include must be a list"),
        ("include: [none.yaml]\n", "none.yaml", "No such file"),
        ("include:\n- {env_file: x}\n", "compose.yaml:2", "include.0.path must be a text"),
        ("include: [bad.yaml]\n", "bad.yaml:2", "no number of replicas"),
    ],
)
def test_an_include_that_means_nothing_is_one_line_with_its_place(
    tmp_path: Path, text: str, place: str, says: str
) -> None:
    write(tmp_path, "services:\n  one: {image: a}\n", "one.yaml")
    write(tmp_path, "services:\n  bad:\n    scale: x\n    image: a\n", "bad.yaml")
    with pytest.raises(InvalidRequest) as caught:
        read(tmp_path, text)
    assert says in caught.value.message
    assert f"{tmp_path}/{place}" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_named_volume_has_the_name_that_compose_gives_it(tmp_path: Path) -> None:
    text = """
name: shop
services:
  db:
    image: a
    volumes:
    - data:/data
    - /cache
    - kept:/kept:ro
    - {type: volume, source: other, target: /o}
    - {type: tmpfs, target: /t}
volumes:
  data:
  kept: {external: true}
  other: {name: mine}
"""
    found = read(tmp_path, text)["db"]
    assert found.volumes == (
        Volume("shop_data", "/data", kind="volume"),
        Volume("", "/cache", kind="volume"),
        Volume("kept", "/kept", True, "volume"),
        Volume("mine", "/o", kind="volume"),
    )
    assert found.left_out == ("volumes of type tmpfs",)


def test_a_service_of_one_letter_is_named_with_its_project(tmp_path: Path) -> None:
    assert request(tmp_path, "name: shop\nservices:\n  a: {image: b}\n").name == "shop-a"
    assert request(tmp_path, "name: shop\nservices:\n  ab: {image: b}\n").name == "ab"


def test_a_dotenv_file_beside_it_gives_variables(tmp_path: Path) -> None:
    write(tmp_path, "TAG_OF_TEST=7\n", ".env")
    assert read(tmp_path, "services: {a1: {image: 'x:${TAG_OF_TEST}'}}")["a1"].image == "x:7"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("services:\n  a: [\n", 3, "expected"),
        ("services:\n  a: {image: x}\n  a: {image: y}\n", 3, "duplicate key"),
        ("- a\n", 1, "no mapping"),
        ("name: x\n", 1, "services must be a mapping"),
        ("services: {}\n", 1, "no services"),
        ("services:\n  web:\n", 2, "services.web must be a mapping"),
        ("services:\n  web:\n    user: 1\n", 2, "neither an image nor a build"),
        ("services:\n  web:\n    image: x\n    ports: 80\n", 4, "must be a list"),
        ("services:\n  web:\n    image: x\n    ports:\n      - 80\n      - nonsense\n", 2, "invalid port"),
        (
            "services:\n  web:\n    image: ${NO_SUCH_VARIABLE:?say which}\n",
            3,
            "NO_SUCH_VARIABLE must be set: say which",
        ),
        ("services:\n  web:\n    image: x\n    volumes: [a]\n", 4, "no volume"),
        ('services:\n  web:\n    image: x\n    command: "it\'s"\n', 4, "No closing quotation"),
        ("services:\n  web:\n    image: x\n    deploy: {replicas: many}\n", 4, "no number of replicas"),
        ("services:\n  a1:\n    extends: a1\n", 2, "extends itself"),
        ("services:\n  a1:\n    image: x\n    extends: b1\n", 1, "no service 'b1'"),
        ("services: &a\n  b1: *a\n", 2, "an alias refers to what contains it"),
        ("services: {a1: {image: !reset x}}\n", 1, "could not determine a constructor"),
    ],
)
def test_a_malformed_file_is_one_line_with_its_place(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidRequest) as caught:
        application = compose.read_application(path)
        compose.request_for(application.services[0], application, Config())
    assert caught.value.message.startswith(f"{path}:{line}: "), caught.value.message
    assert says in caught.value.message
    assert "\n" not in caught.value.message


def test_an_error_in_a_file_that_is_extended_names_that_file(tmp_path: Path) -> None:
    other = write(tmp_path, "services:\n  low:\n    image: x\n    cap_add: 1\n    environment: 5\n", "base.yaml")
    path = write(tmp_path, "services:\n  top:\n    extends: {file: base.yaml, service: low}\n")
    with pytest.raises(InvalidRequest) as caught:
        compose.read_application(path)
    assert caught.value.message == f"{other}:5: services.low.environment must be a list"


@pytest.mark.parametrize("form", ["[{}]", "{{<<: [{}]}}"])
def test_a_bomb_of_aliases_is_refused_before_it_grows(tmp_path: Path, form: str) -> None:
    levels = "".join(f"  l{n + 1}: &l{n + 1} {form.format(', '.join([f'*l{n}'] * 9))}\n" for n in range(11))
    text = f"x-bomb:\n  l0: &l0 {{a: b}}\n{levels}services: {{a1: {{image: x, command: *l11}}}}\n"
    with pytest.raises(InvalidRequest, match="its aliases stand for more than 4 MiB"):
        read(tmp_path, text)


def test_aliases_of_aliases_are_read_where_they_stand_for_little(tmp_path: Path) -> None:
    text = "x-a: &a [a, b]\nservices: {a1: {image: x, command: *a, labels: &l {k: v}}, b1: {image: x, labels: *l}}\n"
    found = read(tmp_path, text)
    assert found["a1"].command == ("a", "b")
    assert found["b1"].flags == ("--label=k=v",)


def test_without_the_library_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    with pytest.raises(HostUnfit) as caught:
        compose.read_application(write(tmp_path, "services: {}"))
    assert caught.value.hint == extras.command("compose")


def test_no_replicas_are_advised_as_one_and_said_so(tmp_path: Path) -> None:
    service = read(tmp_path, "services: {a: {image: x, deploy: {replicas: 0}}}")["a"]
    assert (service.replicas, service.left_out) == (1, ("no replicas (advised as for one)",))
    with pytest.raises(InvalidRequest, match="no number of replicas"):
        read(tmp_path, "services: {a: {image: x, scale: -1}}")


def test_several_replicas_are_said_to_be_more_than_the_command_starts(tmp_path: Path) -> None:
    service = read(tmp_path, "services: {a: {image: x, deploy: {replicas: 3}}}")["a"]
    assert (service.replicas, service.left_out) == (3, ("3 replicas (the command starts one)",))
    assert read(tmp_path, "services: {a: {image: x, scale: 1}}")["a"].left_out == ()
