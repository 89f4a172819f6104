"""What a user without root has of it: containers in namespaces of his own, with what is his and nothing more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.foreground import Terminal
from tests.support.layers import Layout, directory, entry, symlink, tar
from tests.support.registry import Registry
from tests.support.rootless import Rootless
from tests.support.vm import wait_until

BUSYBOX = Path("/bin/busybox")
WWW_DATA = 33  # www-data of the embedded image


def test_root_inside_is_the_user_outside(rootless: Rootless) -> None:
    done = rootless("run", "--rm", "--network", "none", "busybox", "cat", "/proc/self/uid_map", check=True)
    inside, outside, count = done.stdout.splitlines()[0].split()
    assert (inside, outside, count) == ("0", str(rootless.account.pw_uid), "1")
    done = rootless("run", "-d", "--name", "web", "--network", "none", "busybox", "sleep", "60", check=True)
    sleeper = next(pid for pid in processes("sleep 60") if user_of(pid) == rootless.account.pw_uid)
    assert os.readlink(f"/proc/{sleeper}/ns/user") == os.readlink(f"/proc/{rootless.keeper}/ns/user")
    assert os.readlink(f"/proc/{sleeper}/ns/user") != os.readlink("/proc/self/ns/user")


def test_every_command_enters_the_same_namespaces(rootless: Rootless) -> None:
    rootless("run", "--rm", "--network", "none", "busybox", "true", check=True)
    first = rootless.keeper
    rootless("ps", check=True)
    assert rootless.keeper == first != 0


def test_whose_keeper_was_killed_gets_another(rootless: Rootless) -> None:
    rootless("ps", check=True)
    first = rootless.keeper
    os.kill(first, signal.SIGKILL)
    rootless("run", "--rm", "--network", "none", "busybox", "true", check=True)
    assert rootless.keeper not in (0, first)


def test_many_first_commands_make_one_keeper(rootless: Rootless) -> None:
    rootless("images", check=True)
    os.kill(rootless.keeper, signal.SIGKILL)
    started = [rootless.popen("ps", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(6)]
    assert [process.wait(30) for process in started] == [0] * 6, [process.communicate() for process in started]
    for process in started:
        process.communicate()
    assert len([pid for pid in processes("twinhull-keeper keep") if user_of(pid) == rootless.account.pw_uid]) == 1


@pytest.mark.parametrize(("words", "code"), [("exit 7", 7), ("nosuch", 127), ("exec /etc", 126)])
def test_the_exit_status_is_the_programs(rootless: Rootless, words: str, code: int) -> None:
    assert rootless("run", "--rm", "--network", "none", "busybox", "sh", "-c", words).exit_code == code


def test_a_workload_lives_as_any(rootless: Rootless) -> None:
    rootless(*"run -d --name web --network none busybox".split(), "sh", "-c", "echo out; sleep 60", check=True)
    (row,) = rootless("ps", "--format", "json", check=True).json()
    assert (row["name"], row["wall"]) == ("web", "host kernel, user namespace")
    assert rootless("logs", "web", check=True).stdout == "out\n"
    assert rootless("exec", "web", "id", "-u", check=True).stdout == "0\n"
    done = rootless("exec", "-u", "www-data", "web", "sh", "-c", "id -u; exit 3")
    assert (done.stdout, done.exit_code) == (f"{WWW_DATA}\n", 3)
    assert "root:x:0" in rootless("exec", "web", "cat", "/etc/passwd", check=True).stdout
    rootless("cp", "web:/etc/passwd", str(rootless.home / "passwd"), check=True)
    assert (rootless.home / "passwd").stat().st_uid == rootless.account.pw_uid
    rootless("restart", "-t", "0", "web", check=True)
    rootless("stop", "-t", "0", "web", check=True)
    assert rootless("wait", "web", check=True).stdout == "137\n"
    rootless("rm", "web", check=True)
    assert rootless.names() == []


def test_a_restart_policy_holds(rootless: Rootless) -> None:
    words = "echo again >>/count; [ $(wc -l </count) -gt 2 ]"
    rootless(*"run -d --name job --restart on-failure --network none busybox sh -c".split(), words, check=True)
    wait_until(lambda: status_of(rootless) == "exited", "its end")
    assert rootless("wait", "job", check=True).stdout == "0\n"


def test_a_terminal_is_one(rootless: Rootless) -> None:
    environment = [f"{key}={value}" for key, value in rootless.environment().items()]
    words = "run --rm -it --network none busybox sh".split()
    shell = Terminal(["/usr/bin/env", "-i", *environment, *rootless.command, *words], 0, (33, 77))
    try:
        shell.type(b"tty; stty size\n")
        shell.read_until(b"/dev/pts/0\r\n33 77\r\n")
        shell.type(b"exit 4\n")
        assert shell.wait() == 4
    finally:
        shell.close()


def test_what_is_shown_keeps_its_owners(rootless: Rootless) -> None:
    shown = rootless.home / "shown"
    shown.mkdir()
    (shown / "his").write_text("his\n")
    (shown / "roots").write_text("roots\n")
    (shown / "roots").chmod(0o600)
    for path in (shown, shown / "his"):
        os.chown(path, rootless.account.pw_uid, rootless.account.pw_gid)
    script = f"cat /v/his; cat /v/roots; touch /v/new /v/other; chown {WWW_DATA} /v/other"
    done = rootless(*f"run --rm --network none -v {shown}:/v busybox sh -c".split(), script)
    assert done.stdout == "his\n" and "Permission denied" in done.stderr
    assert (shown / "new").stat().st_uid == rootless.account.pw_uid
    assert (shown / "other").stat().st_uid not in (0, WWW_DATA, rootless.account.pw_uid)


def test_volumes_and_layers_are_written_and_removed(rootless: Rootless) -> None:
    write = "touch /data/x /y; chown 1000 /data/x /y; rm -r /var/spool; mkdir /var/spool; rm /etc/group"
    rootless(*"run --name job --network none -v data:/data busybox sh -c".split(), write, check=True)
    assert {"D /etc/group", "A /y"} <= set(rootless("diff", "job", check=True).stdout.splitlines())
    rootless("commit", "job", "job:1", check=True)
    script = "ls -ln /y /data/x; ls -A /var/spool /etc/group"
    done = rootless(*"run --rm --network none -v data:/data job:1 sh -c".split(), script)
    assert done.stdout.count(" 1000 ") >= 2 and "/etc/group: No such file" in done.stderr
    rootless("rm", "job", check=True)
    rootless("volume", "rm", "data", check=True)
    assert list((rootless.root / "state/instances").iterdir()) == []


def test_a_pulled_image_is_what_it_is_for_root(rootless: Rootless, registry: Registry, tmp_path: Path) -> None:
    """The registry listens on the host's loopback, which the user's own namespaces do not have."""
    below = [entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755, uid=1000), symlink("bin/sh", "busybox")]
    below += [directory("opaque"), entry("opaque/below", b""), directory("gone"), entry("gone/below", b"")]
    device = entry("node")
    device[0].type, device[0].devmajor, device[0].devminor = tarfile.CHRTYPE, 1, 3
    above = [entry("opaque/.wh..wh..opq"), entry("opaque/above", b""), entry(".wh.gone"), directory("gone"), device]
    layout = Layout(tmp_path / "layout")
    layout.tag(layout.manifest([tar(below), tar(above)]), "it")
    name = registry.put(layout.path, "it", "rootless")
    rootless.config.write_text(f'insecure_registries = ["{registry.address}"]\n')

    rootless("pull", name, check=True)
    script = "busybox ls -A /opaque /gone; busybox stat -c %u /bin/busybox; busybox ls /node"
    done = rootless("run", "--rm", "--network", "none", name, "sh", "-c", script)
    assert done.stdout.split() == ["/gone:", "/opaque:", "above", "1000"]
    assert "/node: No such file" in done.stderr


def test_an_owner_without_a_number_is_named(rootless: Rootless, registry: Registry, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.tag(layout.manifest([tar([entry("far", b"", uid=3_000_000)])]), "it")
    name = registry.put(layout.path, "it", "far")
    rootless.config.write_text(f'insecure_registries = ["{registry.address}"]\n')
    done = rootless("pull", name)
    assert done.exit_code == 125
    assert "'far' is of 3000000:0: not mapped" in done.stderr


def test_the_hosts_network_is_the_hosts(rootless: Rootless) -> None:
    links = rootless(*"run --rm --network host busybox ls /sys/class/net".split(), check=True).stdout.split()
    assert set(links) & set(os.listdir("/sys/class/net")) - {"lo"}
    rootless(*"run -d --name near --network host busybox sleep 60".split(), check=True)
    rootless("restart", "-t", "0", "near", check=True)
    sleeper = next(pid for pid in processes("sleep 60") if user_of(pid) == rootless.account.pw_uid)
    assert os.readlink(f"/proc/{sleeper}/ns/net") == os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --rm --network none --memory 64m busybox true", "a limit without root is not supported"),
        ("run --rm --network none --userns private busybox true", "--userns private without root"),
        ("run --rm --network none --runtime runc busybox true", "--runtime without root"),
        ("run --rm --network none --device /dev/null:/dev/other busybox true", "a device under another name"),
        ("machine ps", "machine ps without root is not supported"),
        ("vm kernel build", "vm kernel build without root is not supported"),
    ],
)
def test_what_needs_root_is_refused_in_one_sentence(rootless: Rootless, words: str, said: str) -> None:
    done = rootless(*words.split())
    assert done.exit_code == 125
    assert said in done.stderr and "hint: " in done.stderr
    assert rootless.names() == []


def test_what_has_no_group_is_not_looked_at_by_half(rootless: Rootless) -> None:
    rootless(*"run -d --name web --network none busybox sleep 60".split(), check=True)
    for words in ("top web", "stats --no-stream web", "pause web"):
        done = rootless(*words.split())
        assert done.exit_code != 0
        assert "needs a control group that is delegated" in done.stderr


def test_without_numbers_to_map_the_command_that_gives_some_is_named(rootless: Rootless) -> None:
    nobody = Rootless.__new__(Rootless)
    nobody.__dict__.update(rootless.__dict__)
    nobody.command = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", rootless.command[-1])
    own = rootless.root.parent / "other"
    own.mkdir()
    os.chown(own, 54321, 54321)
    nobody.variables = {"TWINHULL_ROOT": str(own)}
    done = nobody("ps")
    assert done.exit_code == 125
    assert "/etc/subuid gives 54321 no numbers to map" in done.stderr
    assert "usermod --add-subuids" in done.stderr
    assert "(without it, as far as they say: advise, compare, doctor, plan, prove, version)" in done.stderr


def test_the_doctor_finds_what_the_user_has_and_names_what_he_lacks(rootless: Rootless) -> None:
    facts = {fact["name"]: fact for fact in rootless("doctor", "--format", "json").json()["facts"]}
    for name in (
        "user namespaces",
        "subordinate ids",
        "newuidmap",
        "slirp4netns",
        "overlayfs",
        "nftables",
        "tun device",
    ):
        assert facts[name]["state"] == "ok", facts[name]
    assert "works here: run" in rootless("doctor").stdout

    his = rootless.command
    rootless.command = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", his[-1])
    done = rootless("doctor")
    rootless.command = his
    assert done.exit_code == 1
    assert re.search(
        r"missing +subordinate ids .*-> +usermod --add-subuids (\d+)-\d+ --add-subgids \1-\d+ 54321", done.stdout
    )
    assert "works here: nothing" in done.stdout


def status_of(rootless: Rootless) -> str:
    """What the only workload is."""
    (row,) = rootless("ps", "-a", "--format", "json", check=True).json()
    return str(row["status"])


def processes(words: str) -> list[int]:
    """Those with these words in their command line."""
    found = []
    for number in os.listdir("/proc"):
        try:
            if number.isdecimal() and words in Path(f"/proc/{number}/cmdline").read_text().replace("\0", " "):
                found.append(int(number))
        except OSError:
            continue
    return found


def user_of(pid: int) -> int:
    """The real user of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return int(line.split()[1])
