"""`twinhull run` and `twinhull create`."""

from __future__ import annotations

import sys

from twinhull.cli.arguments import cpu_count, memory_bytes, process_count
from twinhull.cli.parser import REMAINDER
from twinhull.errors import InvalidRequest
from twinhull.model import Port, Request, Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.lists import Cidfile
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.model import Attachment, IsolationChoice

ISOLATIONS = ("container", "vm", "auto")


def configure_create(parser: Parser) -> None:
    """Arguments of create: the flags of run that make sense before a start."""
    configure_request(parser)
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("command", nargs=REMAINDER, metavar="CMD")


def configure_request(parser: Parser) -> None:
    """The flags that make a request."""
    add = parser.add_argument
    add("--isolation", choices=ISOLATIONS, help="container: the host's kernel, vm: one of its own (default: container)")
    add("--vm", action="store_true", help="the same as --isolation vm")
    add("--untrusted", action="store_true", help="a wall that somebody promises, or no start; implies --isolation auto")
    add("--accept-weak-wall", action="store_true", help="start what is not trusted without such a wall too")
    add("-i", "--interactive", action="store_true", help="keep stdin open")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-it", "-ti", action="store_true", dest="both", help="-i and -t")
    add("--rm", action="store_true", help="delete it when it ends")
    add("--name", default="", help="a name; two words are picked otherwise")
    add("-e", "--env", action="append", default=[], metavar="K=V", help="set a variable; K alone passes ours on")
    add("--env-file", action="append", default=[], metavar="F", help="read variables from a file, one a line")
    add("-w", "--workdir", default="", metavar="DIR", help="working directory")
    add("-u", "--user", default="", metavar="USER", help="name or uid, with :group")
    add(
        "-v",
        "--volume",
        action="append",
        default=[],
        metavar="SRC:DST[:ro]",
        help="show a path of the host, or a volume, inside",
    )
    add("--mount", action="append", default=[], metavar="K=V,…", help="the same in words: type=bind,src=/a,dst=/b,ro")
    add("--volumes-from", action="append", default=[], metavar="NAME[:ro]", help="with the volumes of another workload")
    add("--memory", "-m", type=memory_bytes, default=0, metavar="M", help="limit of memory: 512m")
    add("--cpus", type=cpu_count, default=0.0, metavar="N", help="limit of CPUs: 1.5")
    add("--pids-limit", type=int, default=0, metavar="N", help="limit of processes")
    configure_networks(parser)
    add("--entrypoint", default=None, metavar="E", help="the program instead of the image's")
    add("-h", "--hostname", default="", metavar="H", help="host name inside")
    add("--read-only", action="store_true", help="nothing can be written to its root")
    add("-l", "--label", action="append", default=[], metavar="K=V", help="a label")
    add("--platform", default="", help="of the image, linux/arm64: --vm gives it that processor")
    add("--pull", choices=("always", "missing", "never"), default="missing", help="when to ask the registry")
    add("--userns", choices=("host", "private"), default="host", help="private: a user namespace of its own")
    add("--stop-signal", default="", help="what `stop` sends first")
    add("--no-template", action="store_true", help="a virtual machine boots instead of starting from a saved guest")
    add("--runtime", default="", metavar="PROGRAM", help="an OCI runtime that makes the container: runc, /usr/bin/crun")
    configure_privileges(parser)
    configure_options(parser)


def configure_networks(parser: Parser) -> None:
    """The flags of networks and ports."""
    add = parser.add_argument
    add(
        "--network",
        "--net",
        action="append",
        default=[],
        metavar="NET",
        help="none, host, bridge (default) or a network; several: name=NET,alias=NAME,ip=ADDRESS",
    )
    add("--network-alias", action="append", default=[], metavar="NAME", help="one more name on its network")
    add("--ip", default="", metavar="ADDRESS", help="its address on the network")
    add("--ip6", default="", metavar="ADDRESS", help="its IPv6 address on the network")
    add("-p", "--publish", action="append", default=[], metavar="[IP:]HOST:PORT", help="publish a port on the host")
    add("-P", "--publish-all", action="store_true", help="publish every exposed port on any free one of the host")
    add("--expose", action="append", default=[], metavar="PORT", help="a port that -P publishes, beside the image's")


def configure_privileges(parser: Parser) -> None:
    """The flags that loosen or tighten what holds the workload."""
    add = parser.add_argument
    add("--privileged", action="store_true", help="every capability and device, and no filter of system calls")
    add("--cap-add", action="append", default=[], metavar="CAP", help="grant a capability: NET_ADMIN, ALL")
    add("--cap-drop", action="append", default=[], metavar="CAP", help="take one of the usual fourteen away, or ALL")
    add(
        "--security-opt",
        action="append",
        default=[],
        metavar="OPT",
        help="no-new-privileges, seccomp=unconfined, seccomp=FILE, systempaths=unconfined",
    )


def configure_options(parser: Parser) -> None:
    """The rarer flags; twinhull.cli.options reads them."""
    add = parser.add_argument
    add("--ulimit", action="append", default=[], metavar="NAME=SOFT[:HARD]", help="limit of its processes: nofile=1024")
    add("--init", action="store_true", help="a first process that passes signals on and reaps, above its own")
    add("--sysctl", action="append", default=[], metavar="K=V", help="a setting of the kernel, for it alone")
    add("--tmpfs", action="append", default=[], metavar="DIR[:OPTIONS]", help="a file system in memory: /run:size=64m")
    add("--shm-size", type=shm_size, default=0, metavar="M", help="size of /dev/shm (default: 64m)")
    add("--device", action="append", default=[], metavar="DEV[:DEV][:rwm]", help="a device, by its node")
    add("--group-add", action="append", default=[], metavar="GROUP", help="a further group of its user")
    add("--memory-swap", default="", metavar="M", help="limit of memory and swap together; -1 for none")
    add("--cpu-shares", "-c", default="", metavar="N", help="its weight when processors are scarce (default: 1024)")
    add("--cpuset-cpus", default="", metavar="LIST", help="the processors that it may use: 0-1,3")
    add("--oom-score-adj", default="", metavar="N", help="-1000 to 1000: the higher, the sooner it is ended for memory")
    add("--stop-timeout", default="", metavar="S", help="seconds that `stop` gives it (default: 10); -1 for ever")
    add(
        "--restart",
        default="",
        metavar="POLICY",
        help="start it again when it ends: no (default), on-failure[:N], always, unless-stopped",
    )
    add("--health-cmd", default="", metavar="CMD", help="what its shell runs; with status 0 it is healthy")
    add("--health-interval", default="", metavar="T", help="time between two checks (default: 30s)")
    add("--health-timeout", default="", metavar="T", help="what takes longer has failed (default: 30s)")
    add("--health-retries", default="", metavar="N", help="failures in a row that make it unhealthy (default: 3)")
    add("--health-start-period", default="", metavar="T", help="so long failures do not count (default: 0s)")
    add("--health-start-interval", default="", metavar="T", help="time between two checks meanwhile (default: 5s)")
    add("--no-healthcheck", action="store_true", help="not even the image's check")
    add("--umask", default="", metavar="MASK", help="umask of its process (default: 0022)")
    add(
        "--add-host",
        action="append",
        default=[],
        metavar="NAME:IP",
        help="a line of /etc/hosts; host-gateway is the host",
    )
    add("--dns", action="append", default=[], metavar="IP", help="ask this server for names, which knows no workload's")
    add("--dns-search", action="append", default=[], metavar="DOMAIN", help="domains to look names up in; . for none")
    add("--dns-option", action="append", default=[], metavar="OPTION", help="an option of resolv.conf")
    add("--domainname", default="", metavar="NAME", help="NIS domain name, and domain of its host name")
    add("--mac-address", default="", metavar="MAC", help="hardware address on the bridge")
    add("--label-file", action="append", default=[], metavar="F", help="read labels from a file, one a line")
    add("--cidfile", default="", metavar="F", help="write the id to this file, which must not be there")


# Every flag of configure_options that makes a field of a request.
OPTIONS = """ulimit init sysctl tmpfs shm_size device group_add memory_swap cpu_shares cpuset_cpus oom_score_adj
    health_cmd health_interval health_timeout health_retries health_start_period health_start_interval no_healthcheck
    stop_timeout restart umask add_host dns dns_search dns_option domainname mac_address""".split()


def shm_size(text: str) -> int:
    """A size; the import comes with the flag."""
    from twinhull.cli.options import shm_bytes

    return shm_bytes(text)


def configure_run(parser: Parser) -> None:
    """Flags of run."""
    configure_create(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="leave it running and print its id")
    parser.add_argument("--detach-keys", default="", metavar="KEYS", help="leaves it running (default: ctrl-p,ctrl-q)")
    parser.add_argument(
        "--sig-proxy", choices=("true", "false"), default="true", help="pass signals on (default: true)"
    )


def request_of(arguments: Arguments, config: Config) -> Request:
    """The request these flags make.

    Raises:
        InvalidRequest: flags that contradict each other or mean nothing.
    """
    network, attachments = networks(arguments)
    entrypoint = None if arguments.entrypoint is None else tuple(filter(None, [arguments.entrypoint]))
    return Request(
        image=arguments.image,
        command=tuple(arguments.command),
        isolation=isolation_of(arguments, config),
        name=arguments.name,
        entrypoint=entrypoint,
        environment=environment(arguments),
        workdir=arguments.workdir,
        user=arguments.user,
        hostname=checked_hostname(arguments.hostname),
        volumes_from=tuple(arguments.volumes_from),
        memory_bytes=arguments.memory,
        cpus=arguments.cpus,
        pids_limit=process_count(arguments.pids_limit),
        network=network,
        attachments=attachments,
        ports=published(arguments.publish),
        expose=tuple(arguments.expose),
        publish_all=arguments.publish_all,
        tty=arguments.tty or arguments.both,
        interactive=arguments.interactive or arguments.both,
        remove=arguments.rm,
        readonly=arguments.read_only,
        platform=arguments.platform,
        stop_signal=checked_signal(arguments.stop_signal),
        user_namespace=arguments.userns == "private",
        labels=tuple(label_of(text) for text in label_texts(arguments)),
        untrusted=arguments.untrusted,
        accept_weak_wall=arguments.accept_weak_wall,
        boots=arguments.no_template,
        runtime=arguments.runtime,
        **privileges(arguments),
        **merged(options(arguments), mounts(arguments)),
    )


def merged(options: dict[str, Any], mounts: dict[str, Any]) -> dict[str, Any]:
    """The fields of both; either may ask for file systems in memory."""
    if options and mounts:
        return {**options, **mounts, "tmpfs": (*options["tmpfs"], *mounts["tmpfs"])}
    return options or mounts


def isolation_of(arguments: Arguments, config: Config) -> IsolationChoice:
    """The isolation of the flags, else of the configuration; for what is not trusted, else the one that serves.

    Raises:
        InvalidRequest: --vm and another --isolation.
    """
    wanted: IsolationChoice | None = arguments.isolation
    if arguments.vm and wanted not in (None, "vm"):
        raise InvalidRequest(f"--vm and --isolation {wanted} contradict each other", hint="leave one out")
    if arguments.vm:
        return "vm"
    if arguments.untrusted:
        return wanted or "auto"
    from twinhull.engine.engine import configured_isolation

    return wanted or configured_isolation(config)


def privileges(arguments: Arguments) -> dict[str, Any]:
    """The fields of the privileges; without a flag of theirs, nothing is imported."""
    if not (arguments.privileged or arguments.cap_add or arguments.cap_drop or arguments.security_opt):
        return {}
    from twinhull.cli.privileges import fields

    return fields(arguments)


def options(arguments: Arguments) -> dict[str, Any]:
    """The fields of the rarer flags; without one of them, nothing is imported."""
    if not any(getattr(arguments, name) for name in OPTIONS):
        return {}
    from twinhull.cli.options import fields

    return fields(arguments)


def environment(arguments: Arguments) -> tuple[str, ...]:
    """The variables of --env-file and -e; without one, nothing is imported."""
    if not (arguments.env or arguments.env_file):
        return ()
    from twinhull.cli.lists import variables

    return tuple(variables(arguments.env_file, arguments.env))


def label_texts(arguments: Arguments) -> list[str]:
    """The labels of --label-file and -l."""
    if not arguments.label_file:
        labels: list[str] = arguments.label
        return labels
    from twinhull.cli.lists import labels_in

    return [*labels_in(arguments.label_file), *arguments.label]


def cidfile(path: str) -> Cidfile | None:
    """The file that --cidfile names, not made yet; without one, nothing is imported."""
    if not path:
        return None
    from twinhull.cli.lists import Cidfile

    return Cidfile(path)


def label_of(text: str) -> tuple[str, str]:
    """K=V, or K with an empty value."""
    key, _, value = text.partition("=")
    return key, value


def mounts(arguments: Arguments) -> dict[str, Any]:
    """The fields of every -v and --mount; without one, nothing is imported. What lies at the same place is refused."""
    if not (arguments.volume or arguments.mount):
        return {}
    from twinhull.cli.volumes import parse_mount, parse_volume

    found = [*map(parse_volume, arguments.volume), *map(parse_mount, arguments.mount)]
    volumes = tuple(row for row in found if isinstance(row, Volume))
    memory = tuple(row for row in found if not isinstance(row, Volume))
    targets = [volume.target for volume in volumes] + [target for target, _ in memory]
    if twice := next((target for target in targets if targets.count(target) > 1), ""):
        raise InvalidRequest(f"duplicate mount point: {twice}", hint="leave one of them out")
    return {"volumes": volumes, "tmpfs": memory}


def networks(arguments: Arguments) -> tuple[str, tuple[Attachment, ...]]:
    """The first network, and every one where there is more to say; for a plain one, nothing is imported."""
    names: list[str] = arguments.network
    if len(names) > 1 or arguments.network_alias or arguments.ip or arguments.ip6 or "=" in "".join(names):
        from twinhull.cli.attachments import parse_attachments

        return parse_attachments(names, arguments.network_alias, arguments.ip, arguments.ip6)
    return names[0] if names else "bridge", ()


def published(texts: list[str]) -> tuple[Port, ...]:
    """The ports of every -p; without one, nothing is imported."""
    if not texts:
        return ()
    from twinhull.network.ports import parse

    return tuple(port for text in texts for port in parse(text))


def checked_hostname(text: str) -> str:
    """A host name of at most 63 characters.

    Raises:
        InvalidRequest: another thing.
    """
    allowed = all(letter.isalnum() or letter in "-." for letter in text)
    if len(text) > 63 or not allowed or not text.isascii():
        raise InvalidRequest(f"invalid host name {text!r}", hint="letters, digits, '-' and '.', 63 at most")
    return text


def checked_signal(text: str) -> str:
    """A signal that exists; refused now, not when the workload is to be stopped.

    Raises:
        InvalidRequest: no such signal.
    """
    if text:
        from twinhull.engine.control import signal_number

        signal_number(text)
    return text


def run_create(arguments: Arguments, config: Config) -> int:
    """Create and print the id."""
    from twinhull.cli.progress import prepared

    request = request_of(arguments, config)
    file = cidfile(arguments.cidfile)
    with prepared(config) as engine:
        identity = engine.create(request, pull=arguments.pull).id
    if file:
        file.write(identity)
    print(identity)
    return 0


def run_run(arguments: Arguments, config: Config) -> int:
    """Start, then become the foreground end; or print the id and leave."""
    from twinhull.cli.foreground import attach, check_keys, require_terminal, terminal_size
    from twinhull.cli.progress import prepared

    request = request_of(arguments, config)._replace(stdin_open=arguments.detach)
    check_keys(arguments.detach_keys)
    file = cidfile(arguments.cidfile)
    if not arguments.detach:
        require_terminal(request)
    engine = prepared(config)
    instance, conversation = engine.run_attached(request, size=terminal_size(request.tty), pull=arguments.pull)
    if file:
        file.write(instance.id)
    if arguments.detach:
        conversation.close()
        print(instance.id)
        return 0
    sys.stdout.flush()
    return attach(
        config,
        conversation,
        tty=request.tty,
        stdin=request.interactive,
        detach_keys=arguments.detach_keys,
        proxy=arguments.sig_proxy == "true",
    )
