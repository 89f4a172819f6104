"""What cloud-native applications ask of whatever runs them, each tried on a container.

The list follows https://12factor.net (config, port binding, disposability, logs, concurrency) and, for
healing, what every orchestrator does for its containers.
"""

from __future__ import annotations

import json
import time

from twinhull.prove.evidence import Evidence, merged
from twinhull.prove.observe.services import answer
from twinhull.prove.session import IMAGE, LIFE_S, Done, Session, isolation

QUICKLY_S = 2.0
PATIENCE_S, POLL_S = 3.0, 0.05
CONTAINER = isolation("container")
SERVICE = (
    'trap "exit 0" TERM; echo up\n'
    "mkdir /tmp/www; echo answer > /tmp/www/index.html\n"
    f"timeout {LIFE_S} httpd -f -p 80 -h /tmp/www & wait"
)
MARK = "/etc/changed"
RESTART = ("--restart", "on-failure")
DIES_ONCE = f"[ -e /died ] && exec sleep {LIFE_S}; touch /died; exit 1"


def needs(session: Session) -> Evidence:
    """What cloud-native applications need, each tried."""
    steps = (configured, serves, replicated, healed)
    return merged([step(session) for step in steps])


def configured(session: Session) -> Evidence:
    """Configuration comes from the environment."""
    done = session.run("run", "--rm", *CONTAINER, "-e", "GREETING=hello", IMAGE, "sh", "-c", "echo $GREETING")
    return Evidence((done.ran(),), {"cloud.environment": answer(done.stdout == "hello\n")}, {})


def serves(session: Session) -> Evidence:
    """A port is bound on the host, the log is a stream, and a request to end is heard at once."""
    kept = session.start("container", "sh", "-c", SERVICE, flags=("-p", "127.0.0.1::80"))
    try:
        url = f"http://127.0.0.1:{published(session, kept.name)}/"
        fetched = patient(session, ("busybox", "wget", "-qO-", url))
        log = session.run("logs", kept.name)
        stopped = session.run("stop", "-t", "10", kept.name)
    finally:
        session.end([kept.name])
    facts = {
        "cloud.port": answer(fetched.stdout == "answer\n"),
        "cloud.log": answer(log.stdout == "up\n"),
        "cloud.disposable": answer(stopped.took_s < QUICKLY_S),
    }
    ran = (kept.ran, fetched.ran(), log.ran(), stopped.ran(f"ended after {stopped.took_s:.2f} s"))
    return Evidence(ran, facts, {"cloud.stop_s": (stopped.took_s,)})


def published(session: Session, name: str) -> int:
    """The port of the host that leads to an instance."""
    rows = json.loads(session.must("ps", "--format", "json").stdout)
    return next((int(port["host_port"]) for row in rows if row["name"] == name for port in row["ports"]), 0)


def patient(session: Session, argv: tuple[str, ...]) -> Done:
    """Run a command until it succeeds or patience ends: a service may need a moment to listen."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = session.tool(argv)
        if done.exit_code == 0 or time.monotonic() > deadline:
            return done
        time.sleep(POLL_S)


def replicated(session: Session) -> Evidence:
    """Each copy starts from the same image: what one changes, the next does not see."""
    changed = session.run("run", "--rm", *CONTAINER, IMAGE, "touch", MARK)
    looked = session.run("run", "--rm", *CONTAINER, IMAGE, "ls", MARK)
    ran = (changed.ran("written"), looked.ran(looked.complaint))
    return Evidence(ran, {"cloud.same-image": answer(changed.exit_code == 0 and looked.exit_code == 1)}, {})


def healed(session: Session) -> Evidence:
    """A copy that dies of itself is started again by somebody."""
    name = session.new_name()
    started = session.run("run", "-d", *CONTAINER, *RESTART, "--name", name, IMAGE, "sh", "-c", DIES_ONCE)
    if started.exit_code:
        return Evidence((started.ran(),), {"cloud.healing": "no"}, {})
    try:
        entered = patient(session, session.argv(("exec", name, "cat", "/died")))
    finally:
        session.end([name])
    shown = session.shown(("exec", name, "cat", "/died"))
    ran = (started.ran(), entered._replace(command=shown).ran("it runs again" if not entered.exit_code else ""))
    return Evidence(ran, {"cloud.healing": answer(not entered.exit_code)}, {})
