"""The name server of a network, and the names of the workloads on it.

One dnsmasq a network answers on the gateway's address: with the names of the workloads, one file
each in a directory that it watches, and with the host's real name servers for everything else. It
starts with the first workload and ends with the last: whoever removes the last file ends it (the
shim's undo list, or the next command for a shim that was lost). No process waits for that.

dnsmasq is not root and must reach its files, so they lie below /run/twinhull whatever the root is.
"""

from __future__ import annotations

import os

from twinhull.config import ROOT_RUN, Config
from twinhull.errors import HostUnfit
from twinhull.host import files, locks
from twinhull.host.facts import is_rootless, read
from twinhull.model import Endpoint
from twinhull.network.bridge import table_name
from twinhull.network.etc import addresses_of, real_resolv_conf
from twinhull.plan.netlink import pack_address
from twinhull.plan.ops import Op
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable, Iterator

NAME_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
MAX_NAME = 253
PORT = 53
ANSWER_TIMEOUT_S, ANSWER_STEP_S = 1.0, 0.002
START_PATIENCE_S = (0.02, 0.05, 0.1, 0.0)
START_TIMEOUT_S = 10.0  # it takes 15 ms; one that hangs is no reason to wait for ever
BUSY, HUNG = "Address already in use", "it did not come up in time"
VANISHED = "failed to find list of interfaces"  # any one of the host went while it looked
STDERR = 2
RECURSIVE_QUESTION = b"\1\0\0\1\0\0\0\0\0\0"  # RFC 1035 4.1.1: flags, one question, nothing else
HEADER_BYTES = 12


def directory_of(config: Config, network: str) -> str:
    """Return the directory of a network's name server."""
    return f"{base_of(config)}/names/{table_name(config)}/{network}"


def base_of(config: Config) -> str:
    """Return where name servers have their files: there a dnsmasq that is not root reaches them.

    Without root it is the user himself, for whose sake nothing has to be open to others.
    """
    return config.run if is_rootless() else ROOT_RUN


def user_of() -> str:
    """Return who a dnsmasq becomes."""
    return "root" if is_rootless() else "nobody"


def upstream(config: Config) -> str:
    """Return the file that names whom to ask for what is not a workload's."""
    return f"{config.run}/resolv.conf" if is_rootless() else real_resolv_conf()


def undo_ops(config: Config, endpoint: Endpoint) -> tuple[Op, ...]:
    """What takes a workload's names back, and the name server with the last of them."""
    return service_undo_ops(directory_of(config, endpoint.network), endpoint)


def service_undo_ops(directory: str, endpoint: Endpoint) -> tuple[Op, ...]:
    """What removes a workload's file from a service's directory, and ends the service with the last."""
    return (
        Op("remove-file", (f"{directory}/hosts/{endpoint.host_link}",)),
        Op("end-service", (f"{directory}/hosts", f"{directory}/dnsmasq.pid")),
    )


def publish(config: Config, endpoint: Endpoint, names: Iterable[str]) -> None:
    """Let the network find a workload by its names; they answer when this returns.

    Names that no resolver could ask for are left out.

    Raises:
        HostUnfit: dnsmasq is missing, cannot start or does not answer.
    """
    with publishing(config, endpoint, names):
        pass


def is_askable(name: str) -> bool:
    """True for a name that a resolver could ask for: letters, digits, _, and inside it also . and -."""
    return 0 < len(name) <= MAX_NAME and NAME_LETTERS.issuperset(name) and name.strip(".-") == name


@contextmanager
def publishing(config: Config, endpoint: Endpoint, names: Iterable[str]) -> Iterator[None]:
    """The same while the block does something else: the names answer when it is left.

    The first workload of a network waits 5 to 15 ms for the name server; its own start takes as long.
    No lock is held meanwhile: a start that fails is undone under it, by the shim.
    """
    known = tuple(dict.fromkeys([name for name in names if is_askable(name)]))
    directory = directory_of(config, endpoint.network)
    make_directories(directory)
    temporary = f"{directory}/{endpoint.host_link}"
    lines = [f"{address} {' '.join(known)}\n" for address in addresses_of(endpoint)]
    files.write(temporary, "".join(lines).encode(), 0o644)
    with locks.locked(f"{directory}/dnsmasq.pid.lock"):
        os.rename(temporary, f"{directory}/hosts/{endpoint.host_link}")
        starter = None if pid_of(f"{directory}/dnsmasq.pid") else starter_of(config, endpoint, directory)
    try:
        yield
    except BaseException:
        if starter:
            try:
                starter.finish()
            except HostUnfit:
                pass  # what went wrong before is what is told
        withdraw(config, endpoint)
        raise
    if starter:
        starter.finish()
    plain = [name for name in known if "." not in name]  # any other may be asked for beyond the host
    if plain and not answers(endpoint, plain[-1]):
        mend(config, endpoint, directory, plain[-1])


def mend(config: Config, endpoint: Endpoint, directory: str, name: str) -> None:
    """The name server does not answer: it may have died in the meantime, and is started again.

    Raises:
        HostUnfit: even so it does not answer.
    """
    with locks.locked(f"{directory}/dnsmasq.pid.lock"):
        if not pid_of(f"{directory}/dnsmasq.pid"):
            starter_of(config, endpoint, directory).finish()
    if not answers(endpoint, name):
        raise HostUnfit(
            f"the name server of network {endpoint.network!r} does not answer for {name!r}",
            hint=f"is something else listening on port {PORT} of {endpoint.gateway}?",
        )


def make_directories(directory: str) -> None:
    """Make the name server's directories, open to a dnsmasq that is not root."""
    if os.path.isdir(f"{directory}/hosts"):
        return
    before = os.umask(0o022)
    try:
        os.makedirs(f"{directory}/hosts", 0o755, exist_ok=True)
        if not is_rootless():
            os.chmod(ROOT_RUN, 0o711)
    finally:
        os.umask(before)


def is_passing(complaint: str) -> bool:
    """True for what another try may not meet."""
    return BUSY in complaint or VANISHED in complaint or complaint == HUNG


class Starter:
    """A dnsmasq on its way: the process that was started ends when the one it leaves behind is ready."""

    def __init__(self, endpoint: Endpoint, directory: str, argv: list[str], title: str, port: int) -> None:
        self.what = f"{title} of network {endpoint.network!r}"
        self.port = port
        self.pid_file = f"{directory}/dnsmasq.pid"
        self.argv = argv
        self.complaint = os.memfd_create("dnsmasq", os.MFD_CLOEXEC)
        self.pid = self.spawn()

    def spawn(self) -> int:
        """Start it, with its complaints going to a file of ours."""
        from twinhull.host.spawn import spawn
        from twinhull.network.programs import path_of

        return spawn(path_of(self.argv[0]), self.argv, {STDERR: self.complaint})

    def finish(self) -> None:
        """Wait until one has bound its sockets and read its files: this one, or that of another command.

        One that was just ended keeps its port a moment longer.

        Raises:
            HostUnfit: it cannot start.
        """
        import time

        try:
            for patience_s in START_PATIENCE_S:
                if self.is_up():
                    return
                said = os.pread(self.complaint, 1000, 0).decode("utf-8", "replace").strip().removeprefix("dnsmasq: ")
                if BUSY in said and pid_of(self.pid_file):
                    return
                if not is_passing(said) or not patience_s:
                    raise HostUnfit(
                        f"the {self.what} cannot start: {said}",
                        hint=f"ss -lnup 'sport = {self.port}' shows who listens" if BUSY in said else "",
                    )
                time.sleep(patience_s)
                os.ftruncate(self.complaint, 0)
                self.pid = self.spawn()
        finally:
            os.close(self.complaint)

    def is_up(self) -> bool:
        """True once it is ready; one that neither comes up nor ends is ended."""
        from _signal import SIGKILL, pidfd_send_signal  # type: ignore[import-not-found]  # has no stub
        from select import poll

        pidfd, ended = os.pidfd_open(self.pid), poll()
        try:
            ended.register(pidfd)
            if not ended.poll(START_TIMEOUT_S * 1000):
                pidfd_send_signal(pidfd, SIGKILL)
                os.pwrite(self.complaint, HUNG.encode(), 0)
        finally:
            os.close(pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0


def starter_of(config: Config, endpoint: Endpoint, directory: str) -> Starter:
    """Start a name server."""
    return Starter(endpoint, directory, command(config, endpoint, directory), "name server", PORT)


def command(config: Config, endpoint: Endpoint, directory: str) -> list[str]:
    """Return dnsmasq's command line: it reads no configuration of the host's and listens on one address.

    That of an internal network asks nobody: a question would carry data out.
    """
    return [
        *("dnsmasq", "--conf-file=/dev/null", f"--user={user_of()}", f"--pid-file={directory}/dnsmasq.pid"),
        *("--bind-dynamic", f"--interface={endpoint.bridge}", "--except-interface=lo", "--no-hosts"),
        *(f"--hostsdir={directory}/hosts", "--domain-needed"),
        "--no-resolv" if endpoint.internal else f"--resolv-file={upstream(config)}",
        *("--cache-size=1000", "--no-ident"),
    ]


def pid_of(pid_file: str) -> int:
    """Return the pid in a file if that process was started with this file, 0 if not.

    The command line decides, not the number alone: numbers are used again.
    """
    pid = read(pid_file).strip()
    if not pid.isdecimal():
        return 0
    return int(pid) if f"--pid-file={pid_file}" in read(f"/proc/{pid}/cmdline").split("\0") else 0


def withdraw(config: Config, endpoint: Endpoint) -> None:
    """Take a workload's names back, and end the name server with the last; what the undo list does too."""
    withdraw_from(directory_of(config, endpoint.network), endpoint)


def withdraw_from(directory: str, endpoint: Endpoint) -> None:
    """The same for any service: remove the workload's file, and end the service with the last."""
    pid_file = f"{directory}/dnsmasq.pid"
    files.remove_file(f"{directory}/hosts/{endpoint.host_link}")
    if not os.path.exists(pid_file):
        return
    with locks.locked(f"{pid_file}.lock"):
        if not os.listdir(f"{directory}/hosts"):
            end(pid_file)


def forget(config: Config, network: str) -> None:
    """End the name server of a network that is taken away, and remove its directories."""
    directory = directory_of(config, network)
    if not os.path.isdir(directory):
        return
    with locks.locked(f"{directory}/dnsmasq.pid.lock"):
        end(f"{directory}/dnsmasq.pid")
        files.remove_tree(directory)
    try:
        os.rmdir(os.path.dirname(directory))
    except OSError:
        pass  # another network of the installation is there


def end(pid_file: str) -> None:
    """End the name server; closing its inotify takes the kernel 15 ms, for which nobody waits. The lock is held."""
    from _signal import SIGTERM, pidfd_send_signal

    if pid := pid_of(pid_file):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if pid_of(pid_file) == pid:
                pidfd_send_signal(pidfd, SIGTERM)
        finally:
            os.close(pidfd)
    files.remove_file(pid_file)


def answers(endpoint: Endpoint, name: str) -> bool:
    """Ask until the network's name server gives the address of a name; False if it does not in time."""
    import time
    from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket

    wanted = pack_address(endpoint.address)
    sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        sock.connect((endpoint.gateway, PORT))
        for wait_s in steps():
            if wanted in ask(sock, name, wait_s):
                return True
            time.sleep(wait_s)
        return False
    finally:
        sock.close()


def steps() -> Iterator[float]:
    """Give short waits, then longer ones, until the time is up."""
    left, wait_s = ANSWER_TIMEOUT_S, ANSWER_STEP_S
    while left > 0:
        yield wait_s
        left -= wait_s
        wait_s *= 1.5


def ask(sock: socket, name: str, timeout_s: float) -> bytes:
    """Send one question for the address of a name and return the records of the answer, nothing without one."""
    question = b"".join([bytes([len(label)]) + label.encode() for label in name.split(".")]) + b"\0\0\1\0\1"
    sock.settimeout(timeout_s)
    try:
        sock.send(os.urandom(2) + RECURSIVE_QUESTION + question)
        answer = sock.recv(512)
    except OSError:  # not yet bound (refused), or no answer in time
        return b""
    return answer[HEADER_BYTES + len(question) :]
