"""The table of verbs: which module to import, a line for the overview, examples for --help."""

from __future__ import annotations

from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Verb(NamedTuple):
    """One command. `module` is below twinhull.cli; it has configure_FUNCTION and run_FUNCTION.

    Attributes:
        verbs: of a command that is a group: its own verbs, of which the next word names one.
        alone: a group that is a command too, where the next word names none.
    """

    module: str
    function: str
    summary: str
    examples: tuple[str, ...]
    verbs: Mapping[str, Verb] = {}
    alone: bool = False


MACHINE_VERBS = {
    "create": Verb(
        "machine",
        "create",
        "write a machine down, on top of a disk with an operating system",
        (
            "twinhull machine create box --debian",
            "twinhull machine create web --disk debian.qcow2 --memory 1g --cpus 2 -p 8080:80",
        ),
    ),
    "start": Verb(
        "machine",
        "start",
        "switch machines on",
        ("twinhull machine start box", "twinhull machine start --attach box"),
    ),
    "attach": Verb("machine", "attach", "connect to a machine's serial console", ("twinhull machine attach box",)),
    "stop": Verb(
        "machine", "stop", "press the power button, and switch off after a while", ("twinhull machine stop -t 60 box",)
    ),
    "rm": Verb("machine", "rm", "delete machines and what they wrote", ("twinhull machine rm -f box",)),
    "ps": Verb("machine", "ps", "list machines", ("twinhull machine ps", "twinhull machine ps -a --format json")),
    "logs": Verb("machine", "logs", "show what came out of a console", ("twinhull machine logs -f box",)),
    "stack": Verb("machine", "stack", "the layers under a machine's services", ("twinhull machine stack box",)),
}

TEMPLATE_VERBS = {
    "ls": Verb(
        "vm",
        "template_ls",
        "list templates, what they cost and when they were used",
        ("twinhull vm template ls", "twinhull vm template ls --format json"),
    ),
    "rm": Verb(
        "vm",
        "template_rm",
        "delete templates; the next start that needs one makes it again",
        ("twinhull vm template rm 5b0d", "twinhull vm template rm 5b0d 91c4"),
    ),
}

KERNEL_VERBS = {
    "build": Verb(
        "vm",
        "kernel_build",
        "build a small kernel for virtual machines from the distribution's source, and use it",
        ("twinhull vm kernel build --background", "twinhull vm kernel build --jobs 2"),
    ),
    "ls": Verb(
        "vm",
        "kernel_ls",
        "list kernels, and how far a build is",
        ("twinhull vm kernel ls", "twinhull vm kernel ls --format json"),
    ),
    "use": Verb(
        "vm",
        "kernel_use",
        "choose the kernel of virtual machines",
        ("twinhull vm kernel use built-6.1", "twinhull vm kernel use distribution"),
    ),
    "rm": Verb("vm", "kernel_rm", "delete kernels that guests are not booted with", ("twinhull vm kernel rm 6.1.0-9",)),
}

POOL_VERBS = {
    "set": Verb("pool", "set", "have N guests wait for starts", ("twinhull vm pool set 8 --memory-budget 1g --wait",)),
    "ls": Verb("pool", "ls", "list the guests that wait", ("twinhull vm pool ls",)),
    "drain": Verb("pool", "drain", "undo every guest that waits, and want none", ("twinhull vm pool drain",)),
}

VM_VERBS = {
    "warm": Verb(
        "vm",
        "warm",
        "make the template of a virtual machine now, so that its first start is as fast as every other",
        (
            "twinhull vm warm",
            "twinhull vm warm --memory 512m --cpus 2 --shares",
            "twinhull vm warm --platform linux/arm64",
        ),
    ),
    "template": Verb(
        "vm",
        "template",
        "the saved guests that virtual machines start from",
        ("twinhull vm template ls", "twinhull vm template rm 5b0d"),
        TEMPLATE_VERBS,
    ),
    "pool": Verb(
        "vm", "pool", "guests that wait for the next virtual machines", ("twinhull vm pool set 4",), POOL_VERBS
    ),
    "kernel": Verb(
        "vm",
        "kernel",
        "the kernels that virtual machines boot",
        ("twinhull vm kernel build --background", "twinhull vm kernel ls"),
        KERNEL_VERBS,
    ),
}

VOLUME_VERBS = {
    "create": Verb("volume", "create", "make a volume", ("twinhull volume create data",)),
    "ls": Verb("volume", "ls", "list volumes", ("twinhull volume ls", "twinhull volume ls --format json")),
    "inspect": Verb("volume", "inspect", "everything known about volumes, as JSON", ("twinhull volume inspect data",)),
    "rm": Verb("volume", "rm", "delete volumes with their content", ("twinhull volume rm data",)),
    "prune": Verb(
        "volume",
        "prune",
        "delete volumes that no workload has asked for",
        ("twinhull volume prune --force", "twinhull volume prune --all"),
    ),
}

SNAPSHOT_VERBS = {
    "ls": Verb("fork", "ls", "list snapshots", ("twinhull snapshot ls", "twinhull snapshot ls --format json")),
    "rm": Verb("fork", "rm", "delete snapshots; what was restored from them goes on", ("twinhull snapshot rm web:1",)),
}

NETWORK_VERBS = {
    "create": Verb(
        "network",
        "create",
        "make a network",
        (
            "twinhull network create back",
            "twinhull network create --subnet 10.9.0.0/24 --gateway 10.9.0.254 office",
            "twinhull network create --internal vault",
        ),
    ),
    "ls": Verb("network", "ls", "list networks", ("twinhull network ls", "twinhull network ls --format json")),
    "inspect": Verb(
        "network",
        "inspect",
        "everything known about networks and who is on them, as JSON",
        ("twinhull network inspect back",),
    ),
    "connect": Verb(
        "network",
        "connect",
        "put a workload on one more network",
        ("twinhull network connect back web", "twinhull network connect --alias db --ip 10.9.0.5 back postgres"),
    ),
    "disconnect": Verb(
        "network", "disconnect", "take a workload off a network", ("twinhull network disconnect bridge web",)
    ),
    "rm": Verb("network", "rm", "remove networks that nobody is on", ("twinhull network rm back",)),
    "prune": Verb("network", "prune", "remove every network that no workload is on", ("twinhull network prune -f",)),
}

HEALTHCHECK_VERBS = {
    "run": Verb(
        "healthcheck",
        "run",
        "make the health check of a workload now: status 0 if it is well, 1 if not",
        ("twinhull healthcheck run web",),
    ),
}

VERBS = {
    "run": Verb(
        "run",
        "run",
        "create a workload and start it",
        (
            "twinhull run --rm busybox echo hi",
            "twinhull run --vm --rm -it busybox sh",
            "twinhull run -d --name web -p 8080:80 nginx",
            "twinhull run --rm --vm --platform linux/arm64 alpine uname -m",
        ),
    ),
    "create": Verb("run", "create", "write a workload down without starting it", ("twinhull create --name web nginx",)),
    "start": Verb(
        "control",
        "start",
        "start workloads that do not run",
        ("twinhull start web", "twinhull start -a web", "twinhull start --boot"),
    ),
    "restart": Verb("control", "restart", "stop workloads and start them again", ("twinhull restart -t 2 web",)),
    "stop": Verb("control", "stop", "ask workloads to end, and end them after a while", ("twinhull stop -t 2 web",)),
    "kill": Verb("control", "kill", "send a signal to the main process", ("twinhull kill -s HUP web",)),
    "pause": Verb("pause", "pause", "freeze workloads", ("twinhull pause web", "twinhull pause web db")),
    "unpause": Verb("pause", "unpause", "let paused workloads go on", ("twinhull unpause web",)),
    "wait": Verb("control", "wait", "wait until workloads end; print their exit codes", ("twinhull wait job",)),
    "rm": Verb("control", "rm", "delete workloads", ("twinhull rm web", "twinhull rm -f web db")),
    "exec": Verb(
        "exec",
        "exec",
        "run one more process in a workload",
        (
            "twinhull exec web nginx -s reload",
            "twinhull exec -it web sh",
            "twinhull exec -d web sh -c 'sleep 60; nginx -s reload'",
        ),
    ),
    "cp": Verb(
        "copy",
        "cp",
        "copy files into a workload or out of it",
        (
            "twinhull cp web:/etc/nginx/nginx.conf .",
            "twinhull cp -a site/. web:/usr/share/nginx/html",
            "twinhull cp web:/var/log -",
            "twinhull cp - web:/srv",
        ),
    ),
    "diff": Verb("changes", "diff", "how the files of a workload differ from its image", ("twinhull diff web",)),
    "commit": Verb(
        "changes",
        "commit",
        "make an image of a workload's files",
        ("twinhull commit web team/web:2", "twinhull commit -m patched -a me web team/web:3"),
    ),
    "export": Verb(
        "changes",
        "export",
        "write the files of a workload as a tar",
        ("twinhull export -o web.tar web", "twinhull export web"),
    ),
    "rename": Verb("changes", "rename", "give a workload another name", ("twinhull rename web www",)),
    "update": Verb(
        "update",
        "update",
        "change the limits and the restart policy of workloads, while they run too",
        ("twinhull update --memory 512m --cpus 1.5 web", "twinhull update --restart unless-stopped web db"),
    ),
    "switch": Verb(
        "switch",
        "switch",
        "move a workload to the other side of the wall, with everything but its processes",
        ("twinhull switch web --to vm", "twinhull switch --to container -t 30 web"),
    ),
    "fork": Verb(
        "fork",
        "fork",
        "make copies of a running virtual machine that go on from the same point",
        ("twinhull fork web", "twinhull fork -n 4 --name worker web"),
    ),
    "snapshot": Verb(
        "fork",
        "snapshot",
        "write a running virtual machine down, to go on from there later",
        ("twinhull snapshot web before-upgrade",),
        SNAPSHOT_VERBS,
        alone=True,
    ),
    "restore": Verb(
        "fork",
        "restore",
        "start virtual machines that go on from a snapshot",
        ("twinhull restore web:before-upgrade", "twinhull restore -n 4 --name worker web:warm"),
    ),
    "attach": Verb("exec", "attach", "connect to a running workload's streams", ("twinhull attach web",)),
    "ps": Verb(
        "ps",
        "ps",
        "list workloads",
        ("twinhull ps", "twinhull ps -a --format json", "twinhull ps --filter health=unhealthy"),
    ),
    "top": Verb(
        "usage", "top", "list the processes of a workload", ("twinhull top web", "twinhull top web -o pid,rss,args")
    ),
    "stats": Verb(
        "usage",
        "stats",
        "show what workloads use",
        ("twinhull stats", "twinhull stats --no-stream web db", "twinhull stats --no-stream --format json"),
    ),
    "healthcheck": Verb(
        "healthcheck",
        "healthcheck",
        "ask a workload whether it is well",
        ("twinhull healthcheck run web",),
        HEALTHCHECK_VERBS,
    ),
    "logs": Verb("logs", "logs", "show what a workload wrote", ("twinhull logs web", "twinhull logs -f --tail 10 web")),
    "inspect": Verb("ps", "inspect", "everything known about workloads or images, as JSON", ("twinhull inspect web",)),
    "images": Verb("images", "images", "list images", ("twinhull images", "twinhull images --format json")),
    "pull": Verb(
        "images",
        "pull",
        "fetch an image",
        ("twinhull pull nginx:1.27", "twinhull pull oci:./layout", "twinhull pull docker-daemon:nginx:latest"),
    ),
    "push": Verb(
        "images", "push", "send an image to a registry", ("twinhull push team/app:1 docker://host/team/app:1",)
    ),
    "tag": Verb("images", "tag", "give an image another name", ("twinhull tag busybox team/tools:1",)),
    "save": Verb("images", "save", "write an image to a file", ("twinhull save -o tools.tar busybox",)),
    "load": Verb("images", "load", "read images from a file", ("twinhull load -i tools.tar",)),
    "rmi": Verb("images", "rmi", "delete images", ("twinhull rmi nginx:1.27",)),
    "volume": Verb(
        "volume",
        "volume",
        "directories that outlive the workloads that see them",
        ("twinhull volume create data", "twinhull run -v data:/data busybox ls /data"),
        VOLUME_VERBS,
    ),
    "compare": Verb(
        "compare",
        "compare",
        "measure virtual machine against container on this machine",
        (
            "twinhull compare",
            "twinhull compare nginx",
            "twinhull compare --format json busybox -- echo hi",
            "twinhull compare --html report.html --fail-if 'vm.startup.template.p50 > 300ms' nginx",
            "twinhull compare --from old.json --format markdown",
        ),
    ),
    "machine": Verb(
        "machine",
        "machine",
        "full guest operating systems from their own disks",
        ("twinhull machine create box --debian", "twinhull machine start --attach box"),
        MACHINE_VERBS,
    ),
    "vm": Verb(
        "vm",
        "vm",
        "what virtual machines start from",
        ("twinhull vm warm", "twinhull vm template ls"),
        VM_VERBS,
    ),
    "network": Verb(
        "network",
        "network",
        "networks of one's own, apart from each other",
        ("twinhull network create back", "twinhull run -d --network back --name db busybox sleep 600"),
        NETWORK_VERBS,
    ),
    "advise": Verb(
        "advise",
        "advise",
        "container, virtual machine or machine: a recommendation that explains itself",
        (
            "twinhull advise nginx",
            "twinhull advise --untrusted --instances 20 --start-within 200ms --memory-budget 2g nginx",
            "twinhull advise --os windows",
            "twinhull advise --compose compose.yaml",
        ),
    ),
    "prove": Verb(
        "prove",
        "prove",
        "check what textbooks say about virtual machines and containers, here",
        ("twinhull prove", "twinhull prove startup", "twinhull prove --quiz isolation", "twinhull prove --list"),
    ),
    "port": Verb(
        "port",
        "port",
        "where a workload's ports are published",
        ("twinhull port web", "twinhull port web 80", "twinhull port --format json web"),
    ),
    "stack": Verb("stack", "stack", "the layers under one running workload", ("twinhull stack web",)),
    "plan": Verb("plan", "plan", "what would be done, op by op, without doing it", ("twinhull plan --vm busybox",)),
    "doctor": Verb("doctor", "doctor", "what this machine can do, and what repairs it", ("twinhull doctor",)),
    "version": Verb("version", "version", "versions of twinhull and what it uses", ("twinhull version",)),
}


def resolve(words: list[str]) -> tuple[str, Verb | None, list[str]]:
    """Return the command that the first words name, its row, and the words behind it; a group where no verb follows."""
    name, row, rest = words[0], VERBS.get(words[0]), words[1:]
    while row and rest and (verb := row.verbs.get(rest[0])):
        name, row, rest = f"{name} {rest[0]}", verb, rest[1:]
    return name, row, rest


def every_verb(verbs: Mapping[str, Verb] | None = None, before: str = "") -> Iterator[tuple[str, Verb]]:
    """Give every command that takes arguments, the verbs of a group in its place."""
    for name, row in (VERBS if verbs is None else verbs).items():
        if not row.verbs or row.alone:
            yield f"{before}{name}", row
        yield from every_verb(row.verbs, f"{before}{name} ") if row.verbs else ()
