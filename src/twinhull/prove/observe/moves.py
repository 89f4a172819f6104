"""What moves: an image saved to a file, loaded and started where nothing of it was known.

Promise: the other places have a state of their own and leave nothing behind: a fresh TWINHULL_ROOT, or
another engine on storage of its own. What the user has there is not touched.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil

from twinhull.compare import abandoned, figures
from twinhull.host import memory
from twinhull.prove.evidence import Evidence, Ran
from twinhull.prove.session import IMAGE, Session, Unobserved, isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinhull.prove.evidence import Side

ARCHIVE = "image.tar"
GREETING = "it runs here"
NO_NETWORK = ("--network", "none")  # a bridge would stay in the host's network
PODMAN = "podman --root podman --runroot podman-run --tmpdir podman-tmp --cgroup-manager cgroupfs".split()
# Not every host may raise its limits, and podman does not ask whether it may.
PODMAN_LIMITS = "--ulimit nofile=1024:1024 --ulimit nproc=1024:1024".split()
ENGINES = ("podman", "docker")
RUNTIMES = ("crun", "runc")


def second(session: Session) -> str:
    """The state directory of the second place."""
    return f"{session.place}/second"


def moved_name(session: Session) -> str:
    """A name for the image that no place can know but from the file."""
    return abandoned.moved_image(session.prefix)


def saved(session: Session) -> Evidence:
    """The image as a file."""
    session.prepare("container")
    known = json.loads(session.must("inspect", IMAGE).stdout)[0]
    moved = moved_name(session)
    tagged = session.must("tag", IMAGE, moved)
    try:
        done = session.must("save", "-o", ARCHIVE, moved)
    finally:
        session.run("rmi", moved)
    size = os.path.getsize(f"{session.place}/{ARCHIVE}")
    ran = (tagged.ran(moved), done.ran(f"{figures.quantity(size, 'B')} in {figures.quantity(done.took_s, 's')}"))
    return Evidence(ran, {"image.platform": str(known["platform"])}, {"image.moved_bytes": (float(size),)})


def loaded_elsewhere(session: Session) -> Evidence:
    """The image in a second place where nothing of it was known; that it does not load there is a finding."""
    session.observe((saved,))
    done = session.run("load", "-q", "-i", ARCHIVE, kind="elsewhere", variables=(f"TWINHULL_ROOT={second(session)}",))
    return Evidence((done.ran(),), {}, {"image.load_s": (done.took_s,)})


def container_elsewhere(session: Session) -> Evidence:
    """A container of the moved image in the second place."""
    session.observe((loaded_elsewhere,))
    return greeted(session, "container", ())


def vm_elsewhere(session: Session) -> Evidence:
    """A virtual machine of the moved image in the second place, with the guest kernel that has to go there too."""
    session.prepare("vm")
    session.observe((loaded_elsewhere,))
    kernels, target = f"{session.config.state}/kernels", f"{second(session)}/state/kernels"
    copied = session.tool(("cp", "-rL", kernels, target))
    if copied.exit_code:
        raise Unobserved(f"{copied.command}: {copied.complaint}")
    size = float(memory.disk_bytes(target))
    found = greeted(session, "vm", (copied.ran(f"{figures.quantity(size, 'B')} in {copied.took_s:.2f} s"),))
    return found._replace(samples={**found.samples, "vm.moved_bytes": (size,)})


def greeted(session: Session, side: Side, before: Sequence[Ran]) -> Evidence:
    """Run the image in the second place; that it does not run there is a finding, not a gap."""
    words = ("run", "--rm", "--pull", "never", *isolation(side), *NO_NETWORK, moved_name(session), "echo", GREETING)
    done = session.run(*words, kind="elsewhere", variables=(f"TWINHULL_ROOT={second(session)}",))
    worked = done.exit_code == 0 and GREETING in done.stdout
    facts = {f"{side}.moved": "yes" if worked else "no", f"{side}.complaint": "" if worked else done.complaint}
    return Evidence((*before, done.ran()), facts, {f"{side}.moved_s": (done.took_s,)})


def other_engines(session: Session) -> Evidence:
    """The moved image in other engines that are installed."""
    session.observe((saved,))
    ran: list[Ran] = []
    facts = dict.fromkeys((f"engine.{name}" for name in ENGINES), "not installed")
    if shutil.which("podman"):
        facts["engine.podman"] = in_podman(session, ran)
    if shutil.which("docker"):
        answers = session.tool(("docker", "info", "--format", "{{.ServerVersion}}"))
        ran.append(answers.ran())
        works = answers.exit_code == 0
        facts["engine.docker"] = "it would be loaded among your images" if works else "no daemon answers"
    return Evidence(tuple(ran), facts, {})


def in_podman(session: Session, ran: list[Ran]) -> str:
    """Load and run it in a podman on storage of its own; "yes", or why not.

    Not every runtime goes with every host's cgroups: one that runs the image is enough.
    """
    try:
        complaint = podman(session, ran, "load", "-q", "-i", ARCHIVE)
        for runtime in filter(shutil.which, RUNTIMES):
            words = (
                "run",
                "--rm",
                "--runtime",
                runtime,
                *NO_NETWORK,
                *PODMAN_LIMITS,
                moved_name(session),
                "echo",
                GREETING,
            )
            if not complaint and not podman(session, ran, *words):
                return "yes" if ran[-1].said == GREETING else f"no: it said {ran[-1].said}"
        return f"no: {complaint or ran[-1].said}"
    finally:
        session.tool(("env", "-C", session.place, *PODMAN, "rmi", "-f", moved_name(session)))
        session.tool(("umount", "-q", f"{session.place}/podman/overlay"))


def podman(session: Session, ran: list[Ran], *words: str) -> str:
    """Run one command of podman; return its complaint if it failed."""
    done = session.tool(("env", "-C", session.place, *PODMAN, *words), shlex.join((*PODMAN, *words)))
    ran.append(done.ran())
    return (done.complaint or f"exit status {done.exit_code}") if done.exit_code else ""
