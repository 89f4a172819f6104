"""Code that is not trusted runs behind a wall that somebody promises or not at all, and every wall is told."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Result, Twinhull

QUIET = ("--network", "none")
pytestmark = pytest.mark.timeout(240)


def accelerator(twinhull: Twinhull) -> str:
    """What guests run under here, proven by one."""
    done = twinhull("advise", "--probe", "--format", "json", "busybox", timeout_s=120)
    return str(done.json()["here"]["accelerator"])


def rows(twinhull: Twinhull) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in twinhull("ps", "-a", "--format", "json", check=True).json()}


def wall_in_table(twinhull: Twinhull, name: str) -> str:
    """The cell below WALL in what people see."""
    header, *lines = twinhull("ps", "-a", check=True).stdout.splitlines()
    line = next(line for line in lines if line.endswith(f"   {name}"))
    return line[header.index("WALL") : header.index("CREATED")].strip()


def unwrapped(done: Result) -> str:
    """Its output on one line."""
    return " ".join(done.stdout.split())


def assert_no_wall(done: Result) -> None:
    assert done.exit_code == 125, done.stderr
    message, hint = done.stderr.splitlines()[-2:]
    assert "is not trusted" in message
    assert "--accept-weak-wall" in hint
    assert done.stdout == ""


def test_untrusted_code_runs_behind_kvm_or_stops_before_anything_is_fetched(twinhull: Twinhull) -> None:
    kvm = accelerator(twinhull) == "kvm"
    for words in (("run", "--rm", "--untrusted"), ("run", "--untrusted", "--vm"), ("create", "--untrusted")):
        done = twinhull(*words, *QUIET, "busybox", "true", timeout_s=120)
        if kvm:
            assert done.exit_code == 0, done.stderr
            continue
        assert_no_wall(done)
        assert_no_wall(twinhull(*words, *QUIET, "localhost:1/no/such:image"))
        assert rows(twinhull) == {}


def test_a_container_for_untrusted_code_is_an_error_only_where_it_was_asked_for(root: Path, twinhull: Twinhull) -> None:
    for verb in ("run", "create", "plan"):
        done = twinhull(verb, "--untrusted", "--isolation", "container", *QUIET, "busybox", "true")
        assert done.exit_code == 125
        assert "contradict each other" in done.stderr
    configured = root / "container.toml"
    configured.write_text('isolation = "container"\nvm_spare = false\n')
    words = ("run", "--rm", "--untrusted", *QUIET, "busybox", "true")
    done = twinhull(*words, variables={"TWINHULL_CONFIG": str(configured)}, timeout_s=120)
    assert "contradict" not in done.stderr
    assert done.exit_code in (0, 125)
    assert rows(twinhull) == {}


def test_a_wall_is_accepted_for_untrusted_code_alone(twinhull: Twinhull) -> None:
    done = twinhull("run", "--accept-weak-wall", *QUIET, "busybox", "true")
    assert (done.exit_code, "add --untrusted" in done.stderr) == (125, True)


def test_what_was_accepted_is_a_guest_and_stays_on_show(twinhull: Twinhull) -> None:
    words = ("--untrusted", "--accept-weak-wall", *QUIET, "--name", "risky")
    done = twinhull("run", "-d", *words, "busybox", "sleep", "100", timeout_s=120, check=True)
    kind = accelerator(twinhull)
    text = {"tcg": "none (TCG), accepted", "kvm": "KVM, accepted"}[kind]

    def shown() -> None:
        (inspected,) = twinhull("inspect", "risky", check=True).json()
        row = rows(twinhull)["risky"]
        assert row["id"] == done.stdout.strip()
        assert (inspected["wall"], row["wall"], row["isolation"]) == (text, text, "vm")
        assert (inspected["accelerator"], row["accelerator"]) == (kind, kind)
        assert row["request"]["untrusted"] and row["request"]["accept_weak_wall"]
        assert wall_in_table(twinhull, "risky") == text

    shown()
    twinhull("stop", "-t", "0", "risky", check=True)
    shown()
    twinhull("start", "risky", check=True, timeout_s=120)
    shown()
    twinhull("restart", "-t", "0", "risky", check=True, timeout_s=120)
    shown()


def test_a_container_can_be_accepted_by_name(twinhull: Twinhull) -> None:
    words = ("--untrusted", "--isolation", "container", "--accept-weak-wall", *QUIET, "--name", "risky")
    shared = ("-v", "/usr:/usr/host:ro", "-v", "/srv:/srv")
    done = twinhull("run", *words, *shared, "busybox", "true", check=True)
    told = "warning: code that is not trusted reaches these paths of the host: /usr (read-only), /srv"
    assert [line for line in done.stderr.splitlines() if line.startswith("warning")] == [told]
    assert rows(twinhull)["risky"]["wall"] == (
        "host kernel (namespaces, seccomp), opened by -v /usr (read-only), -v /srv, accepted"
    )
    assert wall_in_table(twinhull, "risky") == "host kernel, opened, accepted"


def test_every_workload_shows_its_wall_from_its_start_on(twinhull: Twinhull) -> None:
    twinhull("run", "-d", *QUIET, "--name", "plain", "busybox", "sleep", "100", check=True)
    twinhull("run", *QUIET, "--userns", "private", "--name", "mapped", "busybox", "true", check=True)
    twinhull("create", "--vm", *QUIET, "--name", "guest", "busybox", "sleep", "100", check=True)
    found = rows(twinhull)
    assert found["plain"]["wall"] == "host kernel (namespaces, seccomp)"
    assert found["mapped"]["wall"] == "host kernel, user namespace"
    assert (found["guest"]["wall"], found["guest"]["accelerator"]) == ("not known before it starts", None)
    twinhull("start", "guest", check=True, timeout_s=120)
    kind = accelerator(twinhull)
    (inspected,) = twinhull("inspect", "guest", check=True).json()
    assert inspected["wall"] == {"tcg": "none (TCG)", "kvm": "KVM"}[kind]
    assert ("nobody" in inspected["wall_promised_by"]) == (kind == "tcg")
    (plain,) = twinhull("inspect", "plain", check=True).json()
    assert plain["wall_promised_by"] == "the host's kernel"


@pytest.mark.parametrize("isolation", ["vm", "container"])
def test_what_has_lost_its_wall_does_not_start(twinhull: Twinhull, isolation: str) -> None:
    """As a row that was made under KVM looks on a machine that has it no more."""
    twinhull("create", "--isolation", isolation, *QUIET, "--name", "moved", "busybox", "true", check=True)
    if isolation == "vm" and accelerator(twinhull) == "kvm":
        pytest.skip("guests run under KVM here")
    with closing(sqlite3.connect(twinhull.root / "state/twinhull.db")) as database, database:
        (text,) = database.execute("SELECT request FROM instance").fetchone()
        database.execute("UPDATE instance SET request=?", (json.dumps({**json.loads(text), "untrusted": True}),))
    done = twinhull("start", "moved", timeout_s=120)
    assert done.exit_code != 0
    assert "it is not trusted" in done.stderr
    assert rows(twinhull)["moved"]["status"] == "created"


def test_the_plan_of_untrusted_code_is_not_shown_as_one_that_would_run(twinhull: Twinhull) -> None:
    if accelerator(twinhull) == "kvm":
        pytest.skip("guests run under KVM here")
    assert_no_wall(twinhull("plan", "--untrusted", "busybox", "true"))


def test_advice_answers_with_its_exit_code_and_within_a_hundred_columns(twinhull: Twinhull) -> None:
    kvm = accelerator(twinhull) == "kvm"
    done = twinhull("advise", "busybox", "echo", "it's")
    assert done.exit_code == 0
    assert done.stdout.startswith("CONTAINER: busybox\n")
    assert "twinhull run --isolation=container busybox echo 'it'\"'\"'s'" in done.stdout
    stopped = twinhull("advise", "--untrusted", "--instances", "3", "-v", "/tmp:/t", "busybox")
    assert stopped.exit_code == (0 if kvm else 1)
    assert kvm or stopped.stdout.startswith("STOP: busybox\n")
    assert kvm or "--accept-weak-wall" in stopped.stdout
    assert all(len(line) <= 100 for text in (done, stopped) for line in text.stdout.splitlines())
    assert twinhull("advise").exit_code == 125
    assert twinhull("advise", "--start-within", "soon", "busybox").exit_code == 125
    assert twinhull("advise", "--compose", "x.yaml", "--privileged").exit_code == 125
    variables = {"SECRET_OF_TEST": "hidden"}
    passed = twinhull("advise", "-e", "SECRET_OF_TEST", "busybox", variables=variables).stdout
    assert "--env=SECRET_OF_TEST busybox" in passed and "hidden" not in passed


def test_advice_fetches_and_makes_nothing(twinhull: Twinhull) -> None:
    done = twinhull("advise", "--format", "json", "localhost:1/no/such:image")
    assert done.exit_code == 0
    document = done.json()
    assert document["image"]["known"] is False
    assert document["command"] == "twinhull run --isolation=container localhost:1/no/such:image"
    assert twinhull("images", "--format", "json", check=True).json() == []


@pytest.mark.parametrize(
    "flags",
    [
        ("--network", "host", "-p", "80"),
        ("--network", "none", "--mac-address", "02:00:00:00:00:05"),
        ("--network", "host", "--sysctl", "net.ipv4.ip_forward=1"),
        ("--network", "nosuch"),
        ("--volumes-from", "nobody"),
        ("--userns", "private", "--privileged"),
        ("--restart", "always", "--rm"),
        ("-u", "nosuch"),
    ],
)
def test_what_run_refuses_is_refused_with_the_same_words(twinhull: Twinhull, flags: tuple[str, ...]) -> None:
    advised, ran = (twinhull(verb, *flags, "busybox", "true") for verb in ("advise", "run"))
    assert advised.exit_code == ran.exit_code == 125
    assert ran.stderr.endswith(advised.stderr)  # behind what it says of the image


@pytest.mark.parametrize(
    "flags",
    [
        ("--vm", "--userns", "private"),
        ("--no-template",),
        ("--sysctl", "user.max_user_namespaces=5"),
        ("--network-alias", "web", "--expose", "80", "-P"),
    ],
)
def test_the_command_that_is_printed_runs(twinhull: Twinhull, flags: tuple[str, ...]) -> None:
    document = twinhull("advise", "--format", "json", "--rm", *flags, "busybox", "true", check=True).json()
    assert twinhull(*shlex.split(document["command"])[1:]).exit_code == 0


def test_volumes_of_another_workload_count_as_its_own(twinhull: Twinhull) -> None:
    twinhull("create", "--name", "has", "-v", "/etc:/e", "busybox", check=True)
    document = twinhull("advise", "--format", "json", "--volumes-from", "has", "busybox", check=True).json()
    assert document["needs"]["doors"] == ["/etc"]
    assert "--volumes-from=has" in document["command"]


def test_a_machine_is_called_as_what_it_is_for(twinhull: Twinhull) -> None:
    for words, name in ((("--name", "box", "busybox"), "box"), (("registry:5000/team/app:1",), "app"), ((), "windows")):
        done = twinhull("advise", "--os", "windows", "--format", "json", *words, check=True)
        assert done.json()["command"] == f"twinhull machine create {name} --disk FILE.qcow2"


def test_a_filesystem_that_is_built_in_needs_no_machine(twinhull: Twinhull) -> None:
    done = twinhull("advise", "--needs-kernel-module", "proc", "--needs-kernel-module", "overlay", "busybox")
    assert (done.exit_code, done.stdout.partition("\n")[0]) == (0, "CONTAINER: busybox")
    here = twinhull("advise", "--needs-kernel-module", "no_such", "--format", "json", "busybox").json()
    assert here["choice"] == "machine"
    known = here["here"]["missing_modules"] == ["no_such"]
    assert ("it is not known whether this kernel has no_such" in here["reasons"][0]) is not known


def test_a_service_for_another_system_is_a_machine_and_no_error(twinhull: Twinhull) -> None:
    twinhull("run", "--rm", *QUIET, "busybox", "true", check=True)  # the image is here, for Linux
    web, old = (
        "  web:\n    image: busybox\n    pid: host\n",
        "  old:\n    image: busybox\n    platform: windows/amd64\n",
    )
    text = f"services:\n{web}{old}"
    done = twinhull("advise", "--compose", "-", stdin=text)
    assert done.exit_code == 0, done.stderr
    assert "old  MACHINE (a full operating system): busybox\n" in done.stdout
    assert "! run has no flag for the host's pid: it would start without, as if nobody had asked" in unwrapped(done)
    nonsense = twinhull("advise", "--compose", "-", stdin=text.replace("windows", "linux").replace("amd64", "nonsense"))
    assert nonsense.exit_code == 125
    assert nonsense.stderr.startswith("twinhull: -:7: service old: no such platform: linux/nonsense\n")
    assert twinhull("advise", "--platform", "windows/amd64", "busybox").stdout.startswith("MACHINE (a full")
    assert twinhull("advise", "--platform", "linux/nonsense", "localhost:1/no/such").exit_code == 125


def remember(twinhull: Twinhull, medians: dict[str, float]) -> None:
    """Leave the figures that a comparison of another image would have left."""
    row = {"digest": "sha256:other", "image": "other", "kernel": os.uname().release}
    measured = {**row, "accelerator": accelerator(twinhull), "when": 1.0, "medians": medians}
    (twinhull.root / "state/measurements.json").write_text(json.dumps({"schema": 1, "rows": [measured]}))


def test_what_another_image_cost_is_told_as_that(twinhull: Twinhull) -> None:
    twinhull("run", "--rm", *QUIET, "busybox", "true", check=True)
    medians = {"container.first_output_s": 0.05, "vm.first_output_s": 0.4}
    remember(twinhull, medians)
    shown = unwrapped(twinhull("advise", "busybox"))
    assert "starts 8.0 times as fast (measured with other)" in shown
    assert "container 50.0 ms, VM 400 ms (8.0x)" in shown
    late = twinhull("advise", "--start-within", "200ms", "--own-kernel", "busybox")
    assert late.exit_code == 1
    assert "a VM starts in 400 ms (measured with other), more than 200 ms" in unwrapped(late)


def test_a_wish_that_nothing_measured_can_answer_does_not_pass_in_silence(twinhull: Twinhull) -> None:
    words = ("advise", "--start-within", "1ms", "--instances", "20", "--memory-budget", "1m", "busybox")
    shown = unwrapped(twinhull(*words))
    assert shown.startswith("CONTAINER: busybox ")
    assert shown.count("was not checked: ") == 3
    assert shown.count("twinhull compare busybox measures it") == 3
    assert "measured here with compare" not in shown
    rows = twinhull("advise", "--format", "json", *words[1:]).json()["not_checked"]
    assert [row["wish"].split()[0] for row in rows] == ["--start-within", "--memory-budget", "--instances"]


def test_the_limits_of_density_count_for_so_many_instances(twinhull: Twinhull) -> None:
    medians = {
        "container.first_output_s": 0.03,
        "container.memory_bytes": 1e3,
        "container.tasks": 2,
        "vm.first_output_s": 0.3,
        "vm.memory_bytes": 1e3,
        "vm.tasks": 8,
        "vm.idle_percent": 0.5,
    }
    remember(twinhull, medians)
    pids = int(Path("/proc/sys/kernel/pid_max").read_text())
    many = twinhull("advise", "--instances", str(pids // 2 + 1), *QUIET, "busybox")
    assert many.exit_code == 1
    assert "more containers fit here" in unwrapped(many)
    guests = int(len(os.sched_getaffinity(0)) * 100 / 0.5)
    words = ("advise", "--own-kernel", *QUIET, "--format", "json", "--instances")
    fitting = twinhull(*words, "2", "busybox").json()
    (most,) = (limit["most"] for limit in fitting["room"]["vm"] if limit["name"] == "processor")
    assert (fitting["choice"], most) == ("vm", guests)
    crowded = twinhull(*words, str(guests + 1), "busybox").json()
    assert crowded["choice"] == "stop"  # a machine takes no less
    rules = {row["rule"] for row in crowded["fired"]}
    assert {"VMs reach a limit of this machine", "machines reach a limit of this machine"} <= rules


def test_a_network_of_five_addresses_takes_five_workloads(twinhull: Twinhull) -> None:
    """Nothing was measured: a workload has one address all the same."""
    twinhull("network", "create", "narrow", "--subnet", "10.199.7.0/29", check=True)
    try:
        words = ("advise", "--network", "narrow", "--instances")
        start = ("run", "-d", "--network", "narrow", "--name")
        assert twinhull(*words, "5", "busybox").exit_code == 0
        six = twinhull(*words, "6", "busybox")
        assert six.exit_code == 1
        assert "at most 5 more containers fit here, not 6: addresses bind first" in unwrapped(six)
        for number in range(5):
            twinhull(*start, f"one-{number}", "busybox", "sleep", "100", check=True)
        full = twinhull(*start, "one-5", "busybox", "true")
        assert (full.exit_code, "is full" in full.stderr or "address" in full.stderr) == (125, True)
    finally:
        for number in range(6):
            twinhull("rm", "-f", f"one-{number}")
        twinhull("network", "rm", "narrow", check=True)


def test_a_machine_is_not_judged_by_the_figures_of_a_guest(twinhull: Twinhull) -> None:
    medians = {
        "container.first_output_s": 0.05,
        "vm.first_output_s": 0.15,
        "vm.memory_bytes": 2e7,
        "machine.first_output_s": 21.0,
        "machine.memory_bytes": 358e6,
    }
    remember(twinhull, medians)
    late = twinhull("advise", "--os", "windows", "--start-within", "200ms")
    assert late.exit_code == 1
    assert "a machine starts in 21.0 s (measured with Debian), more than 200 ms" in unwrapped(late)
    words = ("advise", "--needs-kernel-module", "no_such", "--memory-budget", "4g", "--instances")
    assert twinhull(*words, "60", "busybox").exit_code == 1
    assert unwrapped(twinhull(*words, "2", "busybox")).startswith("MACHINE (a full operating system): busybox")


def test_an_application_is_advised_on_service_by_service(twinhull: Twinhull, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(
        "services:\n  web:\n    image: busybox\n    command: echo hi\n    logging: {driver: none}\n"
        "  plugin:\n    image: busybox\n    labels: {twinhull.untrusted: 'true'}\n"
    )
    kvm = accelerator(twinhull) == "kvm"
    done = twinhull("advise", "--compose", str(file))
    assert done.exit_code == (0 if kvm else 1)
    assert "web     CONTAINER: busybox" in done.stdout
    assert f"plugin  {'VIRTUAL MACHINE' if kvm else 'STOP'}: busybox" in done.stdout
    assert "not carried over: logging" in done.stdout
    assert kvm or "would change it: --accept-weak-wall" in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    document = twinhull("advise", "--compose", str(file), "--format", "json").json()
    web = document["services"][0]
    assert (web["name"], web["choice"]) == ("web", "container")
    assert web["command"] == "twinhull run --detach --isolation=container --name=web busybox echo hi"
    words = ("advise", "--compose", str(file), "--memory-budget", "1g")
    limited = twinhull(*words)
    missing = ["web", "plugin"] if kvm else ["web"]
    told = f"no memory of {', '.join(missing)} was measured under this kernel"
    assert f"! --memory-budget 1g was not checked: {told}; twinhull compare busybox measures it" in unwrapped(limited)
    (row,) = twinhull(*words, "--format", "json").json()["not_checked"]
    assert (row["why"], row["command"]) == (told, "twinhull compare busybox")
    file.write_text("services: [\n")
    broken = twinhull("advise", "--compose", str(file))
    assert (broken.exit_code, broken.stderr.count("\n")) == (125, 2)
    assert f"{file}:2: " in broken.stderr
