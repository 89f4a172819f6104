"""What a command imports on its way: each start pays for it again."""

from __future__ import annotations

import subprocess

from tests.support.command import COMMAND, Twinhull
from tests.support.vm import wait_until
from tests.unit.test_start import SLOW

LINES = """
run --rm --network none busybox true
run --rm --network none --vm busybox true
run --rm -p 80 busybox true
exec served true
exec twin true
ps --all
stop -t 0 served
start served
kill -s TERM served
rm -f served
""".strip().splitlines()


def imported(twinhull: Twinhull, line: str) -> set[str]:
    """Run a command line; the names of the modules that it imported."""
    interpreter = COMMAND.read_text().splitlines()[0].removeprefix("#!").split()
    done = subprocess.run(
        [*interpreter, "-X", "importtime", str(COMMAND), *line.split()],
        env=twinhull.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stderr.splitlines()
    said = [text for text in lines if not text.startswith("import time:")]
    assert done.returncode == 0 and not said, f"{line}: {done.returncode} {said}"
    return {text.rpartition("|")[2].strip() for text in lines}


def test_commands_import_nothing_slow(twinhull: Twinhull) -> None:
    # The first of a kind may take longer: it makes the network, and the template.
    for kind in ((), ("--vm",)):
        name = "twin" if kind else "served"
        twinhull("run", "-d", *kind, "--name", name, "busybox", "sleep", "100", check=True, timeout_s=120)
    slow = {line: imported(twinhull, line) & SLOW for line in LINES}
    assert {line: names for line, names in slow.items() if names} == {}


def test_a_run_without_network_imports_no_networks(twinhull: Twinhull) -> None:
    twinhull("run", "--rm", "--network", "none", "busybox", "true", check=True)
    names = imported(twinhull, "run --rm --network none busybox true")
    assert "twinhull.engine.engine" in names
    assert names.isdisjoint({"twinhull.network.bridge", "twinhull.network.dns", "twinhull.network.endpoint"})


def test_what_was_written_goes_with_rm_before_any_other_command(twinhull: Twinhull) -> None:
    script = (
        "mkdir -p /deep/deeper; echo secret > /deep/deeper/secret; ln -s / /deep/link; ln /deep/deeper/secret /hard"
    )
    twinhull("run", "--rm", "--network", "none", "busybox", "sh", "-c", script, check=True)
    instances = twinhull.root / "state/instances"
    wait_until(lambda: not [*instances.glob("*/upper"), *instances.glob("*/work")], "the end of what it wrote")
    assert twinhull("ps", "--all", "--quiet", check=True).stdout == ""
    assert not list(instances.iterdir())
