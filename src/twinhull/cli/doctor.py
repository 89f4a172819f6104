"""`twinhull doctor`: one line a fact, and the command that repairs each shortcoming."""

from __future__ import annotations

import os

from twinhull.cli.arguments import add_format
from twinhull.cli.render import document
from twinhull.host import doctor, machine
from twinhull.host.doctor import Fact
from twinhull.scopes import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config

UNFIT = 1  # something that a verb needs is missing


def configure_doctor(parser: Parser) -> None:
    """Flags of doctor."""
    add_format(parser)


def run_doctor(arguments: Arguments, config: Config) -> int:
    """Print the facts; 0 if nothing is missing, else 1."""
    here = machine.read_machine()
    facts = (*doctor.examine(config.launcher, config.state, known_kvm(config)), *proved_network(config))
    if arguments.format == "json":
        described = {**here._asdict(), "host": here.host._asdict()}
        print(document({"machine": described, "facts": [fact._asdict() for fact in facts]}))
    else:
        print(f"{here.system}, Linux {here.kernel}; {here.processors} x {here.processor}; {here.host.describe()}")
        print("\n".join(lines(facts)))
        print(summary(facts))
    return UNFIT if any(fact.state == "missing" and fact.needed_for != "root" for fact in facts) else 0


def lines(facts: Sequence[Fact]) -> list[str]:
    """State, name, why, and after an arrow the command."""
    width = max(len(fact.name) for fact in facts)
    return [
        f"{fact.state:8}  {fact.name:{width}}  {fact.detail}{f'  ->  {fact.repair}' if fact.repair else ''}"
        for fact in facts
    ]


def summary(facts: Sequence[Fact]) -> str:
    """What can be done now, and one command for everything that is missing."""
    purposes = ("run", "vm", "network", "pull") if not doctor.lacking(facts, "run") else ()
    able = [purpose for purpose in purposes if not doctor.lacking(facts, purpose)]
    text = f"works here: {', '.join(able) or 'nothing that runs or unpacks an image'}"
    repair = doctor.repair_all(facts)
    return f"{text}\nrepair everything: {repair}" if repair else text


def proved_network(config: Config) -> tuple[Fact, ...]:
    """Send a packet out of a workload's place and one in, past this host's firewalls; none without root."""
    from twinhull.errors import TwinhullError

    if os.geteuid() != 0:
        return ()
    try:
        from contextlib import closing

        from twinhull.engine.state import open_home
        from twinhull.network import proof

        with trial_place(config) as place, closing(open_home(place).db) as db:
            shown = proof.prove(place, db)
    except (TwinhullError, OSError) as error:
        return (Fact("packets", "missing", str(error), "network", getattr(error, "hint", "") or "nft list ruleset"),)
    wrong = [f"{way}: {said}" for way, said in shown._asdict().items() if said]
    if wrong:
        return (Fact("packets", "missing", "; ".join(wrong), "network", "nft list ruleset"),)
    return (Fact("packets", "ok", "one went out and one came in by a published port", "network"),)


@contextmanager
def trial_place(config: Config) -> Iterator[Config]:
    """The configuration itself, or one with directories for the trial alone where there is no state yet."""
    if os.path.exists(config.database):
        yield config
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="twinhull-doctor-") as place:
        yield config._replace(state=f"{place}/state", run=f"{place}/run")


def known_kvm(config: Config) -> doctor.Kvm | None:
    """Run a guest under KVM, or say what running one has shown since the boot.

    None where none can be run: without root or QEMU, or while no guest kernel is here. Nothing is
    downloaded to find out.
    """
    from twinhull.errors import TwinhullError
    from twinhull.runtime import kernel, vm

    device = doctor.open_kvm()
    if not device.present or device.error or os.geteuid() != 0 or not kernel.cached(f"{config.state}/kernels"):
        return None
    try:
        choice = vm.prepare(config).accelerator
    except TwinhullError:
        return None
    return device._replace(usable=choice.accelerator == "kvm", reason=choice.reason)
