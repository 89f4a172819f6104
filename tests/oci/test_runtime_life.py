"""The life of a container by runtime-spec's runtime.md, and the command line that callers use: each runtime alike."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.oci import HERE, WITHOUT_FRONT, Container


@pytest.fixture(params=[*HERE, WITHOUT_FRONT])
def container(
    request: pytest.FixtureRequest, tmp_path: Path, busybox_image: Path, nothing_is_left_behind: None
) -> Iterator[Container]:
    """A container of each runtime, and of ours also where the interpreter does everything."""
    made = Container(request.param, tmp_path, busybox_image)
    yield made
    made.remove()


def test_create_start_kill_delete_go_through_the_states_of_the_specification(container: Container) -> None:
    pid_file = container.scratch / "pid"
    container.create("--pid-file", str(pid_file))
    state = container.state()
    assert state["status"] == "created"
    assert pid_file.read_bytes() == str(state["pid"]).encode(), "digits only"
    assert state["bundle"] == str(container.bundle)
    container.start()
    assert container.state()["status"] == "running"
    assert Path(f"/proc/{state['pid']}/cmdline").read_bytes() == b"/bin/sleep\x001000\x00"
    container.do("kill", container.id, "KILL")
    assert container.await_status("stopped").get("pid", 0) == 0
    container.do("delete", container.id)
    assert container.do("state", container.id, check=False).returncode == 1


def test_the_program_does_not_run_before_start(container: Container) -> None:
    container.sh("touch /ran; sleep 1000").create()
    assert not (container.bundle / "rootfs/ran").exists()


def test_run_ends_with_the_status_of_its_process_and_leaves_nothing(container: Container) -> None:
    assert container.sh("exit 42").run(check=False).returncode == 42
    assert container.do("state", container.id, check=False).returncode == 1


def test_run_of_a_killed_process_ends_with_128_and_the_signal(container: Container) -> None:
    container.spec["linux"]["namespaces"] = [
        row for row in container.spec["linux"]["namespaces"] if row["type"] != "pid"
    ]
    assert container.sh("kill -TERM $$").run(check=False).returncode == 143


def test_run_passes_signals_on_and_deletes_what_has_ended(container: Container) -> None:
    mark = container.scratch / "poststop"
    container.spec["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >{mark}"]}]}
    container.sh("trap 'exit 3' TERM; touch /ready; while :; do sleep 0.02; done").write()
    words = container.argv("run", "--bundle", str(container.bundle), container.id)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as running:
        wait_for(container.bundle / "rootfs/ready")
        running.terminate()
        assert running.wait(timeout=30) == 3
    assert container.do("state", container.id, check=False).returncode == 1
    assert json.loads(mark.read_text())["status"] == "stopped"


@pytest.mark.parametrize("number", ["15", "TERM", "SIGTERM"])
def test_a_signal_has_three_names(container: Container, number: str) -> None:
    container.sh("trap 'exit 3' TERM; touch /ready; while :; do sleep 0.02; done").begin()
    wait_for(container.bundle / "rootfs/ready")
    container.do("kill", container.id, number)
    container.await_status("stopped")


def wait_for(path: Path) -> None:
    subprocess.run(["timeout", "10", "sh", "-c", f"until [ -e {path} ]; do sleep 0.02; done"], check=True)


def test_operations_in_the_wrong_state_are_errors(container: Container) -> None:
    container.create()
    assert container.create(check=False).returncode != 0, "the id is in use"
    container.start()
    assert container.do("start", container.id, check=False).returncode != 0
    assert container.do("delete", container.id, check=False).returncode != 0, "it runs"
    container.do("kill", container.id, "KILL")
    container.await_status("stopped")
    assert container.do("kill", container.id, "KILL", check=False).returncode != 0
    assert container.exec("true", check=False).returncode != 0


def test_what_does_not_exist_is_an_error_but_for_a_forced_delete(container: Container) -> None:
    for words in (["state"], ["start"], ["kill"], ["delete"]):
        done = container.do(*words, "missing", check=False)
        assert done.returncode != 0, done
        assert container.runtime == "crun" or "does not exist" in done.stderr, "Debian's crun has words of its own"
    container.do("delete", "--force", "missing")


def test_a_forced_delete_ends_what_runs(container: Container) -> None:
    pid = container.begin().state()["pid"]
    container.do("delete", "--force", container.id)
    assert not Path(f"/proc/{pid}/root/bin").exists()


@pytest.mark.parametrize("identity", ["", "../x", "a/b", "a b"])
def test_an_id_that_is_no_name_is_refused(ours: Container, identity: str) -> None:
    ours.id = identity
    assert ours.create(check=False).returncode == 1
    ours.id = "missing"


def test_errors_are_rows_of_the_log_with_a_time_of_rfc_3339(container: Container) -> None:
    container.args("/no/such/program").create(check=False)
    rows = [json.loads(line) for line in container.log.read_text().splitlines()]
    last = [row for row in rows if row["level"] == "error"][-1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", last["time"]), last
    assert "no such file or directory" in last["msg"].lower()


def test_a_program_that_is_not_in_the_path_fails_create_with_the_words_callers_look_for(container: Container) -> None:
    assert container.args("nonesuch").create(check=False).returncode != 0
    assert "executable file" in container.errors()[-1] and "not found in $PATH" in container.errors()[-1]


@pytest.mark.parametrize("program", ["/plain", "/bin"])
def test_a_program_that_may_not_be_executed_says_permission_denied(ours: Container, program: str) -> None:
    (ours.bundle / "rootfs/plain").write_text("#!/bin/sh\n")
    assert ours.args(program).create(check=False).returncode == 1
    assert f'exec: "{program}": ' in ours.errors()[-1] and "permission denied" in ours.errors()[-1]


def test_start_says_why_exec_failed(ours: Container) -> None:
    (ours.bundle / "rootfs/garbage").write_bytes(b"\x7fELF garbage")
    (ours.bundle / "rootfs/garbage").chmod(0o755)
    ours.args("/garbage").create()
    failed = ours.do("start", ours.id, check=False)
    assert failed.returncode == 1 and "exec format error" in failed.stderr


def test_exec_runs_in_every_namespace_of_the_container_and_ends_with_the_status(container: Container) -> None:
    pid = container.begin().state()["pid"]
    shown = container.exec(
        "/bin/sh", "-c", "hostname; for n in pid net ipc uts mnt; do readlink /proc/self/ns/$n; done"
    )
    expected = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "net", "ipc", "uts", "mnt")]
    assert shown.stdout.split() == ["inside", *expected]
    assert container.exec("/bin/sh", "-c", "exit 9", check=False).returncode == 9


def test_exec_that_cannot_start_ends_with_255_and_does_not_keep_the_container(container: Container) -> None:
    container.begin()
    code = container.exec("/nonesuch", check=False).returncode
    assert code == 255 or (container.runtime == "crun" and code != 0)
    container.do("kill", container.id, "KILL")
    if container.runtime != "crun":  # Debian's leaves a zombie to a subreaper that the test run is
        container.await_status("stopped")


def test_exec_takes_a_process_from_a_file_and_detaches(container: Container) -> None:
    container.begin()
    process = {**container.spec["process"], "args": ["/bin/sleep", "77"], "user": {"uid": 5, "gid": 6}, "cwd": "/bin"}
    path, pid_file = container.scratch / "process.json", container.scratch / "exec.pid"
    path.write_text(json.dumps(process))
    container.do("exec", "--detach", "--pid-file", str(pid_file), "--process", str(path), container.id)
    pid = int(pid_file.read_text())
    status = Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^Uid:\t5\t5\t5\t5$", status, re.MULTILINE) and re.search(r"^Gid:\t6\t", status, re.MULTILINE)
    assert pid in json.loads(container.do("ps", "--format", "json", container.id).stdout)


def test_pause_stops_every_process_and_resume_lets_them_go_on(container: Container) -> None:
    container.sh("while :; do echo x >>/count; sleep 0.01; done").begin()
    count = container.bundle / "rootfs/count"
    wait_for(count)
    container.do("pause", container.id)
    assert container.state()["status"] == "paused"
    size = count.stat().st_size
    subprocess.run(["sleep", "0.3"], check=True)
    assert count.stat().st_size == size
    container.do("resume", container.id)
    assert container.state()["status"] == "running"
    subprocess.run(["sleep", "0.3"], check=True)
    assert count.stat().st_size > size


def test_a_paused_container_can_be_deleted_by_force(container: Container) -> None:
    container.begin()
    container.do("pause", container.id)
    container.do("delete", "--force", container.id)
    assert container.do("state", container.id, check=False).returncode != 0


def test_all_sends_the_signal_to_every_process(container: Container) -> None:
    container.spec["linux"]["namespaces"] = [
        row for row in container.spec["linux"]["namespaces"] if row["type"] != "pid"
    ]
    container.sh("sleep 1000 & sleep 1000 & wait").begin()
    pids = json.loads(container.do("ps", "--format", "json", container.id).stdout)
    container.do("kill", "--all", container.id, "KILL")
    container.await_status("stopped")
    assert not any(Path(f"/proc/{pid}/exe").exists() and os.path.exists(f"/proc/{pid}/root/bin") for pid in pids)


def test_what_a_first_process_in_the_hosts_pid_namespace_left_is_killed(ours: Container) -> None:
    """As by runc; and once more there is nobody."""
    spaces = ours.spec["linux"]["namespaces"]
    ours.spec["linux"]["namespaces"] = [row for row in spaces if row["type"] != "pid"]
    ours.sh("sleep 1000 & wait").begin()
    os.kill(ours.state()["pid"], signal.SIGKILL)
    ours.await_status("stopped")
    left = json.loads(ours.do("ps", "--format", "json", ours.id).stdout)
    assert len(left) == 1 and ours.do("kill", ours.id, "TERM", check=False).returncode == 1
    ours.do("kill", ours.id, "KILL")
    deadline = time.monotonic() + 20
    while json.loads(ours.do("ps", "--format", "json", ours.id).stdout):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "container not running" in ours.do("kill", ours.id, "KILL", check=False).stderr


@pytest.mark.parametrize("number", ["TERM", "HUP"])
def test_a_created_container_ends_by_a_signal_that_asks_for_it(container: Container, number: str) -> None:
    if container.runtime == "crun":
        pytest.skip("a first process has no handler before its program has made one, so crun's goes on")
    container.create()
    container.do("kill", container.id, number)
    container.await_status("stopped")


def test_the_terminal_goes_over_the_console_socket_before_create_returns(container: Container) -> None:
    path = container.scratch / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        container.spec["process"].update(terminal=True, consoleSize={"height": 33, "width": 99})
        container.sh("stty size; tty").create("--console-socket", str(path))
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 64, 1)
    container.start()
    with open(descriptors[0], "rb", buffering=0) as master:
        shown = b""
        try:
            while part := master.read(4096):
                shown += part
        except OSError:
            pass  # EIO: nobody has the other end any more
    assert b"/dev/pts/0" in shown or b"/dev/console" in shown
    if container.runtime != "runc":  # 1.1.5 sets the size later
        assert b"33 99" in shown


def test_a_terminal_without_a_console_socket_is_refused_by_create(container: Container) -> None:
    container.spec["process"]["terminal"] = True
    assert container.create(check=False).returncode != 0


def test_descriptors_are_kept_only_if_asked(container: Container) -> None:
    kept = container.scratch / "kept"
    with_three = f'exec 3>>{kept}; exec "$@"'
    for script, options in (("echo hello >&3", ["--preserve-fds", "1"]), ("echo more >&3", [])):
        container.sh(script).write()
        words = container.argv("run", *options, "--bundle", str(container.bundle), container.id)
        done = subprocess.run(["sh", "-c", with_three, "sh", *words], stdin=subprocess.DEVNULL)
        assert (done.returncode == 0) == bool(options), (script, done)
    assert kept.read_text() == "hello\n"


def test_list_shows_the_containers(container: Container) -> None:
    container.begin()
    rows = json.loads(container.do("list", "--format", "json").stdout)
    assert [(row["id"], row["status"]) for row in rows] == [(container.id, "running")]
    assert container.do("list", "--quiet").stdout.split() == [container.id]


@pytest.mark.parametrize("way", ["delete", "delete --force", "create"])
def test_what_a_killed_create_left_is_stopped_and_goes(ours: Container, way: str) -> None:
    ours.spec["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"]}]}
    ours.write()
    words = ours.argv("create", "--bundle", str(ours.bundle), ours.id)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as creating:
        marker = subprocess.run(
            ["timeout", "10", "sh", "-c", f"until pgrep -P {creating.pid} -x sleep; do sleep 0.02; done"],
            check=True,
            capture_output=True,
            text=True,
        )
        assert ours.state()["status"] == "creating"
        assert ours.create(check=False).returncode == 1, "its maker lives"
        creating.send_signal(signal.SIGKILL)
    os.kill(int(marker.stdout.split()[0]), signal.SIGKILL)
    ours.await_status("stopped")
    left = ours.state()
    assert (left["ociVersion"], left["bundle"]) == (ours.spec["ociVersion"], str(ours.bundle))
    (row,) = json.loads(ours.do("list", "--format", "json").stdout)
    assert (row["id"], row["status"]) == (ours.id, "stopped")
    if way == "create":
        ours.spec["hooks"] = {}
        ours.create()
        assert ours.state()["status"] == "created"
        ours.remove()
    else:
        ours.do(*way.split(), ours.id)
    assert ours.do("state", ours.id, check=False).returncode == 1


def test_version_reads_as_callers_expect(ours: Container) -> None:
    lines = ours.do("--version").stdout.splitlines()
    assert lines[0].startswith("runc version ") and lines[1].startswith("commit: ") and lines[2].startswith("spec: 1.2")


def test_features_and_spec_are_documents(ours: Container) -> None:
    features = json.loads(ours.do("features").stdout)
    assert features["ociVersionMin"] == "1.0.0" and "createRuntime" in features["hooks"]
    ours.do("spec", "--bundle", str(ours.bundle))
    ours.spec = json.loads((ours.bundle / "config.json").read_text())
    ours.spec["process"]["terminal"] = False
    ours.spec["linux"]["cgroupsPath"] = f"/twinhull-test/{ours.id}"
    assert ours.output("hostname") == "twinhull\n"
    assert ours.do("spec", "--bundle", str(ours.bundle), check=False).returncode == 1, "it is never overwritten"


def test_a_variable_of_exec_takes_the_place_of_the_containers(ours: Container) -> None:
    """Programs differ in which of two they take."""
    ours.spec["process"]["env"] = ["PATH=/bin", "OTHER=kept"]
    ours.sh("sleep 1000").begin()
    shown = ours.do("exec", "--env", "PATH=/bin:/usr/bin", ours.id, "/bin/cat", "/proc/self/environ").stdout
    entries = shown.split("\0")
    assert [entry for entry in entries if entry.startswith("PATH=")] == ["PATH=/bin:/usr/bin"]
    assert "OTHER=kept" in entries
