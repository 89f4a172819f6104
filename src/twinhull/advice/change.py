"""What would turn an answer round: in words, and as the question that would be put then. Pure.

Promise: what is named changes the answer by itself; only where nothing does are several named that do together.
"""

from __future__ import annotations

from twinhull.advice.question import LINUX, Question, Room
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from twinhull.advice.question import Abilities, Choice, Needs, Wishes

THEN = {"container": "a container", "vm": "a VM", "machine": "a machine", "stop": "it must not run here"}


class Change(NamedTuple):
    """One thing that could be otherwise; `made` gives the question where it is."""

    words: str
    made: Callable[[Question], Question]


def wishing(words: str, to: Callable[[Wishes], Wishes]) -> Change:
    """Other wishes."""
    return Change(words, lambda q: q._replace(wishes=to(q.wishes)))


def asking(words: str, to: Callable[[Needs], Needs]) -> Change:
    """Other needs."""
    return Change(words, lambda q: q._replace(needs=to(q.needs)))


def here(words: str, to: Callable[[Abilities], Abilities]) -> Change:
    """Another machine."""
    return Change(words, lambda q: q._replace(here=to(q.here)))


def for_linux(question: Question) -> Question:
    """Linux is what it was written for."""
    packed = question.packed._replace(system=LINUX)
    return question._replace(wishes=question.wishes._replace(system=LINUX), packed=packed)


def with_more_memory(question: Question) -> Question:
    """Memory is no limit, neither what is free nor what is allowed."""
    wishes = question.wishes._replace(memory_budget_bytes=0)
    return question._replace(wishes=wishes, here=question.here._replace(free_memory_bytes=0))


def on_kvm(question: Question) -> Question:
    """Code that is not trusted, where KVM is proven."""
    wishes = question.wishes._replace(untrusted=True)
    return question._replace(wishes=wishes, here=question.here._replace(accelerator="kvm"))


TRUSTED = wishing("code you trust", lambda wishes: wishes._replace(untrusted=False, accept_weak_wall=False))
KVM = here("KVM on this machine", lambda here: here._replace(accelerator="kvm"))
NO_DOORS = asking(
    "the same without what is handed through",
    lambda needs: needs._replace(sockets=(), doors=(), namespaces=(), privileges=(), devices=()),
)
LINUX_IMAGE = Change("an image for Linux", for_linux)
PROCESSOR = Change("an image for this processor", lambda q: q._replace(packed=q.packed._replace(architecture="")))
HOSTS_KERNEL = wishing("code that runs on the host's kernel", lambda wishes: wishes._replace(own_kernel=False))
MODULE = here("the module loaded on the host", lambda here: here._replace(missing_modules=(), unknown_modules=()))
NO_SETTINGS = asking("the same without those settings", lambda needs: needs._replace(sysctls=()))
NO_DEVICE = asking("the same without the device", lambda needs: needs._replace(devices=()))
OWN_NAMESPACES = asking("namespaces of its own, with -p for its ports", lambda needs: needs._replace(namespaces=()))
NO_SOCKET = asking("the same without the socket", lambda needs: needs._replace(sockets=()))
NO_SUCH_FLAG = asking("the same without that flag", lambda needs: needs._replace(of_container=()))
MORE_TIME = wishing("more time for the start", lambda wishes: wishes._replace(start_within_s=0.0))
MORE_MEMORY = Change("more memory", with_more_memory)
HIGHER_LIMIT = Change("a higher limit of this machine", lambda q: q._replace(room=Room()))
NO_BRIDGE = asking("--network none", lambda needs: needs._replace(bridge=False))
CONTAINERS_RUN = here("what containers lack here, by twinhull doctor", lambda here: here._replace(no_container=""))
GUESTS_RUN = here("what VMs lack here, by twinhull doctor", lambda here: here._replace(no_vm=""))
NOT_NAMED = wishing("another --isolation, or none", lambda wishes: wishes._replace(isolation=""))
NO_PRIVILEGES = asking("the same without those privileges", lambda needs: needs._replace(privileges=()))
NO_VOLUMES = asking("the same without -v", lambda needs: needs._replace(volumes=0, sockets=(), doors=()))
WEAK_WALL = wishing(
    "--accept-weak-wall, behind a wall that nobody promises, as inspect and ps will say",
    lambda wishes: wishes._replace(accept_weak_wall=True),
)
OWN_KERNEL = wishing("a kernel or architecture that is not the host's", lambda wishes: wishes._replace(own_kernel=True))
UNTRUSTED = Change("code you do not trust", on_kvm)
UNTRUSTED_ON_KVM = Change("code you do not trust, on KVM", on_kvm)


def turns(
    question: Question, choice: Choice, of_rules: Sequence[Change], answer: Callable[[Question], Choice]
) -> tuple[str, ...]:
    """What would change an answer, each thing once, with what the answer would be.

    Args:
        of_rules: what would stop the deciding rules from deciding.
        answer: the choice for another question.
    """
    candidates = (*further(choice, question.here), *of_rules, *fewer(question, choice, answer), *accepted(question))
    alone = [
        told([change], to) for change in dict.fromkeys(candidates) if (to := answer(change.made(question))) != choice
    ]
    return tuple(alone) or together(question, choice, list(dict.fromkeys(of_rules)), answer)


def further(choice: Choice, here: Abilities) -> Iterator[Change]:
    """What makes a container the wrong one."""
    if choice == "container":
        yield UNTRUSTED if here.accelerator == "kvm" else UNTRUSTED_ON_KVM
        yield OWN_KERNEL


def accepted(question: Question) -> Iterator[Change]:
    """A wall that nobody promises, where one is asked for and none there."""
    if question.wishes.untrusted and question.here.accelerator != "kvm":
        yield WEAK_WALL


def fewer(question: Question, choice: Choice, answer: Callable[[Question], Choice]) -> Iterator[Change]:
    """As many instances as change the answer: the fewer there are, the less stands against any choice."""

    def of(count: int) -> Change:
        return wishing(
            f"no more than {count:,} instance{'s' * (count > 1)}", lambda wishes: wishes._replace(instances=count)
        )

    least, most = 0, question.wishes.instances
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if answer(of(middle).made(question)) != choice else (least, middle)
    if least:
        yield of(least)


def together(
    question: Question, choice: Choice, changes: list[Change], answer: Callable[[Question], Choice]
) -> tuple[str, ...]:
    """The fewest of these that change the answer with each other; () if all of them do not."""

    def after(some: Sequence[Change]) -> Choice:
        changed = question
        for change in some:
            changed = change.made(changed)
        return answer(changed)

    if after(changes) == choice:
        return ()
    for change in tuple(changes):
        rest = [one for one in changes if one != change]
        changes = rest if after(rest) != choice else changes
    return (told(changes, after(changes)),)


def told(changes: Sequence[Change], choice: Choice) -> str:
    """Changes in words, and what the answer is then."""
    return f"{', and '.join(change.words for change in changes)} (then {THEN[choice]})"
