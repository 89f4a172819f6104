"""Virtual machines that go on from an imprint: the process of a QEMU as it was when its guest had rehearsed.

Under TCG a start is translation; in an imprint it is done (launcher/imprint.h). One serves any number of
starts, at the same time too: each has the pages that it writes to for itself, and shares the rest.

Promise: an imprint is of a guest that has seen nothing of anybody's, made in this boot of the host. One
that does not go on is forgotten, and what was made for its start is undone.
"""

from __future__ import annotations

import os

from twinhull.config import Config
from twinhull.errors import GuestError, ImprintFailed, LaunchError
from twinhull.plan.jail import imprinted
from twinhull.plan.qemu import IMPRINT_FD, MEMORY_FD, Machine
from twinhull.runtime import holder, jailed, template, vm
from twinhull.runtime.spare import wake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.runtime.container import Prepared
    from twinhull.runtime.vm import Prerequisites, Workload


def borrow(config: Config, ready: Prerequisites, machine: Machine) -> tuple[int, int] | None:
    """Return descriptors of a template's memory and of the imprint that goes with it; None without one."""
    return holder.lent_imprint(config, template.template_key(ready.guest, machine))


def start(
    config: Config,
    ready: Prerequisites,
    machine: Machine,
    workload: Workload,
    lent: tuple[int, int],
    flags: tuple[str, ...],
) -> Prepared:
    """Start a virtual machine that gets its disks over its monitor; its workload waits for START.

    Args:
        lent: as borrowed; they are closed.

    Raises:
        ImprintFailed: it did not go on.
        LaunchError: another op of its jail failed, or one in the guest.
    """
    memory, saved = lent
    bare = workload._replace(image="", scratch="")
    jail = imprinted(vm.make_jail(ready, machine, bare, memory="restored"))
    config.mark("planned")
    try:
        started = vm.launch(ready, jail, workload, {MEMORY_FD: memory, IMPRINT_FD: saved}, flags)
        config.mark("vmm")
    except LaunchError as error:
        if error.op == "imprint":
            raise forget(config, ready, machine, error.message) from error
        raise
    finally:
        os.close(memory)
        os.close(saved)
    wake_up = lambda: wake(workload.directory, workload.image, workload.scratch, durable=workload.durable)  # noqa: E731
    try:
        return vm.begin(config, started, workload.plan, wake_up)
    except BaseException as error:
        jailed.end(started)
        if isinstance(error, GuestError):
            raise forget(config, ready, machine, vm.first_line(error)) from error
        raise


def forget(config: Config, ready: Prerequisites, machine: Machine, why: str) -> ImprintFailed:
    """Have nobody else try an imprint that did not go on."""
    holder.forget_imprint(config, template.template_key(ready.guest, machine))
    return ImprintFailed(f"the virtual machine's saved process did not go on ({why})")
