"""Health checks: the same for both isolations, and nothing of them where there is none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.layers import Layout
from tests.support.wall import START_S, Wall

OFTEN = ("--health-interval", "300ms", "--health-timeout", "5s")
RESIDENT_LIMIT_KIB = 300  # of its own


def await_health(wall: Wall, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + START_S
    while not condition(found := wall.row(name)["health"]):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    shown: dict[str, Any] = found
    return shown


def is_status(status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda found: bool(found["status"] == status)


def askers(wall: Wall) -> list[int]:
    """Every process that asks workloads of this state: they have the workload's directory open."""
    found = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and comm(pid) == "twinhull-health"]
    return [pid for pid in found if os.readlink(f"/proc/{pid}/fd/5").startswith(str(wall.twinhull.root))]


def comm(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() if os.readlink(f"/proc/{pid}/exe") else ""
    except OSError:
        return ""


@pytest.mark.parity("`--health-cmd`, `--health-interval`, `--health-timeout`, `--health-retries`, in ps and inspect")
def test_a_check_that_fails_often_enough_makes_it_unhealthy_and_one_success_healthy(wall: Wall) -> None:
    words = ("--health-cmd", "echo looked at; test -e /well", *OFTEN, "--health-retries", "2")
    wall.detached("--name", "box", *words, "busybox", "sleep", "1012")
    assert "(health: starting)" in wall("ps", check=True).stdout
    found = await_health(wall, "box", is_status("unhealthy"))
    assert found["failing_streak"] >= 2
    assert {(check["code"], check["output"]) for check in found["log"]} == {(1, "looked at\n")}
    assert "(unhealthy)" in wall("ps", check=True).stdout
    wall("exec", "box", "touch", "/well", check=True)
    assert await_health(wall, "box", is_status("healthy"))["failing_streak"] == 0
    assert "(healthy)" in wall("ps", check=True).stdout
    found = await_health(wall, "box", lambda found: [check["code"] for check in found["log"]] == [0] * 5)
    times = [(check["start"], check["end"]) for check in found["log"]]
    assert times == sorted(times) and all(start <= end for start, end in times)
    wall("restart", "-t", "0", "box", check=True)
    assert wall.row("box")["health"]["status"] in ("starting", "healthy")
    await_health(wall, "box", is_status("healthy"))
    assert len(askers(wall)) == 1
    resident = sum(
        int(line.split()[1])
        for line in Path(f"/proc/{askers(wall)[0]}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private_")
    )
    assert resident < RESIDENT_LIMIT_KIB
    wall("stop", "-t", "0", "box", check=True)
    assert wall.row("box")["health"]["status"] == "healthy"  # how it was


@pytest.mark.parity("`--health-cmd`, `--health-interval`, `--health-timeout`, `--health-retries`, in ps and inspect")
def test_a_check_that_takes_too_long_has_failed_and_is_ended(wall: Wall) -> None:
    words = ("--health-cmd", "sleep 1013", "--health-interval", "200ms", "--health-timeout", "500ms")
    wall.detached("--name", "box", *words, "--health-retries", "1", "busybox", "sleep", "1014")
    found = await_health(wall, "box", is_status("unhealthy"))
    assert (found["log"][0]["code"], found["log"][0]["output"]) == (-1, "Health check exceeded timeout (0.500s)")
    await_health(wall, "box", lambda found: len(found["log"]) == 5)
    assert wall("top", "box", check=True).stdout.count("sleep 1013") <= 2  # with its shell


@pytest.mark.parity("`--health-start-period`, `--health-start-interval`")
def test_failures_of_the_start_period_do_not_count(wall: Wall) -> None:
    words = ("--health-cmd", "exit 1", *OFTEN, "--health-retries", "1", "--health-start-period", "1h")
    wall.detached("--name", "box", *words, "--health-start-interval", "100ms", "busybox", "sleep", "1015")
    found = await_health(wall, "box", lambda found: len(found["log"]) == 5)
    assert (found["status"], found["failing_streak"]) == ("starting", 0)


@pytest.mark.parity("the image's HEALTHCHECK, `--no-healthcheck`")
def test_the_check_of_an_image_is_made_unless_it_is_refused(wall: Wall, tmp_path: Path) -> None:
    image = image_with(wall, tmp_path, {"Test": ["CMD", "test", "-d", "/etc"], "Interval": 200_000_000})
    wall.detached("--name", "asked", image, "sleep", "1016")
    await_health(wall, "asked", is_status("healthy"))
    wall.detached("--name", "left", "--no-healthcheck", image, "sleep", "1017")
    wall.detached("--name", "other", "--health-cmd", "exit 3", "--health-retries", "1", image, "sleep", "1018")
    await_health(wall, "other", is_status("unhealthy"))  # the image's interval
    assert wall.row("left")["health"] is None
    assert len(askers(wall)) == 2


def image_with(wall: Wall, directory: Path, check: dict[str, Any]) -> str:
    """An image of busybox's files with a health check."""
    wall.created("--name", "files", "busybox")
    wall("export", "-o", str(directory / "files.tar"), "files", check=True)
    layout = Layout(directory / "layout")
    manifest = layout.manifest([(directory / "files.tar").read_bytes()], config={"Healthcheck": check})
    layout.tag(manifest, "1")
    return f"oci:{directory}/layout:1"


@pytest.mark.parity("healthcheck run")
def test_a_check_can_be_made_now(wall: Wall) -> None:
    wall.detached("--name", "box", "--health-cmd", "echo seen; test ! -e /ill", "busybox", "sleep", "1019")
    well = wall("healthcheck", "run", "box")
    assert (well.exit_code, well.stdout) == (0, "")
    wall("exec", "box", "touch", "/ill", check=True)
    ill = wall("healthcheck", "run", "box")
    assert (ill.exit_code, ill.stdout, ill.stderr) == (1, "seen\n", "unhealthy\n")
    wall.detached("--name", "none", "busybox", "sleep", "1020")
    refused = wall("healthcheck", "run", "none")
    assert (refused.exit_code, "no health check" in refused.stderr) == (125, True)


def test_a_paused_workload_is_not_asked(wall: Wall) -> None:
    wall.detached("--name", "box", "--health-cmd", "true", *OFTEN, "--health-retries", "1", "busybox", "sleep", "1021")
    await_health(wall, "box", is_status("healthy"))
    wall("pause", "box", check=True)
    time.sleep(1)
    before = wall.row("box")["health"]
    time.sleep(1)
    assert wall.row("box")["health"] == before
    wall("unpause", "box", check=True)
    await_health(wall, "box", lambda found: found["status"] == "healthy" and found["log"] != before["log"])


@pytest.mark.parity("ps `--filter`")
def test_ps_shows_what_agrees_with_every_filter(wall: Wall) -> None:
    wall.detached("--name", "runs", "--label", "tier=web", "--health-cmd", "true", *OFTEN, "busybox", "sleep", "1022")
    wall.detached("--name", "ends", "--label", "tier=db", "--restart", "on-failure:1", "busybox", "sh", "-c", "exit 3")
    wall.created("--name", "made", "busybox")
    await_health(wall, "runs", is_status("healthy"))
    identity = wall.row("runs")["id"]
    deadline = time.monotonic() + START_S
    while wall.row("ends")["status"] != "exited":
        assert time.monotonic() < deadline
    for words, expected in (
        (("health=healthy",), {"runs"}),
        (("health=none",), set()),
        (("status=exited",), {"ends"}),
        (("status=exited", "status=created"), {"ends", "made"}),
        (("exited=3",), {"ends"}),
        (("exited=0",), set()),
        (("label=tier",), {"runs"}),
        (("label=tier", "status=exited"), {"ends"}),
        (("label=tier=web",), {"runs"}),
        (("name=run",), {"runs"}),
        ((f"id={identity[:8]}",), {"runs"}),
        (("ancestor=busybox",), {"runs"}),
        (("ancestor=nginx",), set()),
        ((f"isolation={wall.isolation}",), {"runs"}),
        (("isolation=machine",), set()),
        (("restart-policy=on-failure", "status=exited"), {"ends"}),
    ):
        flags = [word for text in words for word in ("--filter", text)]
        rows = wall("ps", "--format", "json", *flags, check=True).json()
        assert {row["name"] for row in rows} == expected, words
    for text in ("nonsense=1", "status=asleep", "health", "exited=x"):
        refused = wall("ps", "--filter", text)
        assert (refused.exit_code, "--filter" in refused.stderr) == (125, True), refused.stderr
