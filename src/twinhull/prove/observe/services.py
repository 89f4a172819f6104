"""What containers and machines are used for: many copies, services that find each other, what clouds ask for.

Promise: an answer counts when it came over the network or from the program itself, not when we say so.
"""

from __future__ import annotations

import time

from twinhull.prove.evidence import Evidence, Ran
from twinhull.prove.observe.costs import SIDES, spread
from twinhull.prove.session import IMAGE, LIFE_S, Session, isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.prove.evidence import Side

COPIES = 10
ANSWER_S, POLL_S = 20.0, 0.05
# The last of the chain serves a file; the others ask the next one and add their name.
SERVE = f"exec timeout {LIFE_S} httpd -f -p 80 -h /tmp/www"
LAST = (
    "mkdir -p /tmp/www/cgi-bin; cd /tmp/www/cgi-bin\n"
    'echo "#!/bin/sh" > q; echo "echo; echo stock: 7" >> q; chmod +x q\n'
    f"{SERVE}"
)
RELAY = (
    "mkdir -p /tmp/www/cgi-bin; cd /tmp/www/cgi-bin\n"
    'echo "#!/bin/sh" > q; chmod +x q\n'
    'echo "echo; echo \\"$0 < \\$(wget -qO- http://$1/cgi-bin/q)\\"" >> q\n'
    f"{SERVE}"
)
CHAIN_ANSWER = "web < shop < stock: 7"


def copies(session: Session) -> Evidence:
    """Ten copies at once, as containers and as virtual machines."""
    session.prepare("vm")
    times: dict[str, list[float]] = {f"{side}.copies_s": [] for side in SIDES}
    ran, facts = [], {}
    for side in SIDES:
        words = ("run", "--rm", *isolation(side), IMAGE, "echo", "ready")
        loop = f"for i in $(seq {COPIES}); do %s & done; wait"
        shown = loop % session.shown(words)
        answered = []
        for _ in range(session.effort.copies):
            done = session.tool(("sh", "-c", loop % '"$@"', "sh", *session.argv(words)), shown)
            answered.append(done.stdout.split().count("ready"))
            times[f"{side}.copies_s"].append(done.took_s)
        facts[f"{side}.copies-answered"] = str(min(answered))
        said = (
            f"{min(answered)} of {COPIES} answered; {spread(times[f'{side}.copies_s'], 's')} until the last had ended"
        )
        ran.append(Ran(shown, said, session.effort.copies))
    return Evidence(tuple(ran), facts, {key: tuple(values) for key, values in times.items()})


def container_chain(session: Session) -> Evidence:
    """Three services as containers that find each other by name."""
    return chain(session, "container")


def vm_chain(session: Session) -> Evidence:
    """The same three services as virtual machines."""
    return chain(session, "vm")


def chain(session: Session, side: Side) -> Evidence:
    """web asks shop asks stock; then shop is replaced while the others stay."""
    stock, shop, web = (session.new_name() for _ in range(3))
    programs = {stock: ("sh", "-c", LAST), shop: relay("shop", stock), web: relay("web", shop)}
    try:
        session.prepare(side)
        began = time.monotonic()
        ran = [session.start(side, *command, name=name).ran for name, command in programs.items()]
        ran.append(ask(session, web))
        took_s = time.monotonic() - began
        ran += [session.must("rm", "-f", shop).ran(), ask(session, web, patience_s=0.0)]
        began = time.monotonic()
        ran += [session.start(side, *programs[shop], name=shop).ran, ask(session, web)]
        replaced_s = time.monotonic() - began
    finally:
        session.end(list(programs))
    first, broken, again = (CHAIN_ANSWER in ran[step].said for step in (3, 5, 7))
    facts = {f"{side}.chain": answer(first), f"{side}.replaced": answer(again and not broken)}
    ran[7] = ran[7]._replace(said=f"{ran[7].said}, again")
    return Evidence(tuple(ran), facts, {f"{side}.chain_s": (took_s,), f"{side}.replaced_s": (replaced_s,)})


def answer(yes: bool) -> str:
    """A fact that is a yes or a no."""
    return "yes" if yes else "no"


def relay(own: str, following: str) -> tuple[str, ...]:
    """A service that adds its name to what the next one answers."""
    return ("sh", "-c", RELAY, own, following)


def ask(session: Session, name: str, *, patience_s: float = ANSWER_S) -> Ran:
    """Ask a service from a container beside it, until the whole chain answers or patience ends."""
    deadline = time.monotonic() + patience_s
    url = f"http://{name}/cgi-bin/q"
    words = ("run", "--rm", *isolation("container"), IMAGE, "wget", "-qO-", url)
    while True:
        done = session.run(*words)
        if CHAIN_ANSWER in done.stdout or time.monotonic() >= deadline:
            return done.ran(done.stdout.strip() or f"no answer: {done.complaint}")
        time.sleep(POLL_S)
