"""What the rules read out of a question. Pure."""

from __future__ import annotations

from twinhull.advice.facts import is_engine
from twinhull.advice.question import LINUX, Question


def wall_missing(question: Question) -> str:
    """What the user would have to bring."""
    here = question.here
    if here.accelerator == "tcg":
        why = f" ({here.reason})" if here.reason else ""
        shared = "a container shares the host's kernel, and a guest under TCG is no security boundary"
        return f"{shared}; KVM is missing{why}"
    why = here.no_vm or here.reason
    return f"a container shares the host's kernel, and no guest was proven to run under KVM{f' ({why})' if why else ''}"


def unpromised(question: Question) -> str:
    """The guest that is accepted."""
    return "a guest under TCG" if question.here.accelerator == "tcg" else "a guest not proven to run under KVM"


def doors(question: Question) -> tuple[str, ...]:
    """Everything that leads past a wall on purpose."""
    needs = question.needs
    shared = tuple(f"the host's {name}" for name in needs.namespaces)
    return (*needs.sockets, *needs.doors, *shared, *needs.privileges, *needs.devices)


def admitted(question: Question) -> bool:
    """True where no veto speaks for itself: trusted code, or a weak wall that is accepted."""
    return not question.wishes.untrusted or question.wishes.accept_weak_wall


def engines(question: Question) -> tuple[str, ...]:
    """The sockets that an engine listens behind."""
    return tuple(path for path in question.needs.sockets if is_engine(path))


def system(question: Question) -> str:
    """The operating system that it needs."""
    return question.wishes.system if question.wishes.system != LINUX else question.packed.system


def named_container(question: Question) -> str:
    """What somebody says who names one."""
    weak = ", and accept that code which is not trusted shares the host's kernel"
    return f"you name a container{weak if question.wishes.untrusted else ''}"


def modules_of_a_machine(question: Question) -> str:
    """What is known of the modules that this kernel lacks, or may lack, in the kernel of a machine's Debian."""
    here = question.here
    unknown = tuple(
        name
        for name in (*here.missing_modules, *here.unknown_modules)
        if name not in (*here.machine_modules, *here.machine_lacks)
    )
    has, lacks, open_ = (", ".join(names) for names in (here.machine_modules, here.machine_lacks, unknown))
    parts = (
        f"the Debian that --debian makes has {has}" if has else "",
        f"the Debian that --debian makes comes without {lacks}: it takes a package in it, or a --disk of your own"
        if lacks
        else "",
        f"it is not known whether the Debian that --debian makes has {open_}: no disk of it here tells"
        if open_
        else "",
    )
    return "; ".join(filter(None, parts))


def needs_kernel(question: Question) -> bool:
    """True where the host's kernel will not do, or may not."""
    here = question.here
    return bool(question.wishes.own_kernel or here.missing_modules or here.unknown_modules or question.needs.sysctls)


def foreign(question: Question, executed: tuple[str, ...]) -> bool:
    """True for a known architecture that is none of those that are executed."""
    wanted = question.packed.architecture
    return bool(wanted and executed and wanted not in executed and system(question) == LINUX)
