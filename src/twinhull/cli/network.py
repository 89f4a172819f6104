"""twinhull network create, ls, inspect, rm, prune: networks of one's own."""

from __future__ import annotations

from twinhull.cli.arguments import add_format
from twinhull.cli.control import confirmed, each, show_each
from twinhull.cli.progress import prepared
from twinhull.cli.render import document, table, timestamp
from twinhull.errors import InvalidRequest, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.engine.engine import Engine
    from twinhull.network.networks import Network

SHORT_ID = 12
LINK_OPTION = "com.docker.network.bridge.name"


def configure_create(parser: Parser) -> None:
    """Flags of network create."""
    add = parser.add_argument
    add(
        "--subnet",
        action="append",
        default=[],
        metavar="CIDR",
        help="its addresses, one of IPv4 and one of IPv6; free ones are taken otherwise",
    )
    add("--ipv6", action="store_true", help="with IPv6 too")
    add("--gateway", default="", metavar="ADDRESS", help="the host's address on it (default: the subnet's first)")
    add("--internal", action="store_true", help="it leads nowhere: no world, no other network, no published ports")
    add("-l", "--label", action="append", default=[], metavar="K=V", help="a label")
    add("-d", "--driver", choices=("bridge",), default="bridge", help="bridge is the only one")
    add("-o", "--opt", action="append", default=[], metavar="K=V", help=f"{LINK_OPTION}=NAME names its bridge")
    add("name", metavar="NAME")


def run_create(arguments: Arguments, config: Config) -> int:
    """Create a network and print its id."""
    from twinhull.cli.run import label_of
    from twinhull.engine import networking
    from twinhull.network.networks import Wish

    wish = Wish(
        name=arguments.name,
        subnet=one_of(arguments.subnet, ipv6=False),
        ipv6=arguments.ipv6,
        subnet6=one_of(arguments.subnet, ipv6=True),
        gateway=arguments.gateway,
        link=link_of(arguments.opt),
        internal=arguments.internal,
        labels=tuple(label_of(text) for text in arguments.label),
    )
    print(networking.create(prepared(config).home, wish).id)
    return 0


def one_of(subnets: list[str], *, ipv6: bool) -> str:
    """The subnet of one kind, "" for none.

    Raises:
        InvalidRequest: several.
    """
    found = [text for text in subnets if (":" in text) == ipv6]
    if len(found) > 1:
        raise InvalidRequest(f"two subnets of one kind: {', '.join(found)}", hint="one of IPv4, and one of IPv6")
    return found[0] if found else ""


def link_of(options: list[str]) -> str:
    """The name of the bridge, "" for one of ours.

    Raises:
        InvalidRequest: an option that there is not.
    """
    link = ""
    for text in options:
        key, _, value = text.partition("=")
        if key != LINK_OPTION or not value:
            raise InvalidRequest(f"unknown option {text!r}", hint=f"-o {LINK_OPTION}=NAME")
        link = value
    return link


def configure_ls(parser: Parser) -> None:
    """Flags of network ls."""
    parser.add_argument("-q", "--quiet", action="store_true", help="only ids")
    parser.add_argument("--no-trunc", action="store_true", help="ids in full")
    add_format(parser)


def run_ls(arguments: Arguments, config: Config) -> int:
    """List networks."""
    from twinhull.engine import networking

    engine = prepared(config)
    found = networking.everything(engine.home)
    width = None if arguments.no_trunc else SHORT_ID
    if arguments.format == "json":
        print(document([described(engine, network) for network in found]))
    elif arguments.quiet:
        for network in found:
            print(network.id[:width])
    else:
        rows = [
            (
                row.id[:width],
                row.name,
                ", ".join(filter(None, (row.subnet, row.subnet6))),
                row.link,
                "yes" if row.internal else "no",
            )
            for row in found
        ]
        print(table(("ID", "NAME", "SUBNET", "BRIDGE", "INTERNAL"), rows))
    return 0


def described(engine: Engine, network: Network) -> dict[str, Any]:
    """A network for programs, with the workloads that are on it."""
    from twinhull.engine import networking

    return {
        "id": network.id,
        "name": network.name,
        "driver": "bridge",
        "link": network.link,
        "created": timestamp(network.created),
        "subnet": network.subnet,
        "gateway": network.gateway,
        "subnet6": network.subnet6,
        "internal": network.internal,
        "labels": dict(network.labels),
        "workloads": [
            {"id": instance.id, "name": instance.name, "isolation": instance.isolation, **place_of(place)}
            for instance, place in networking.members(engine.home, network)
        ],
    }


def place_of(place: Any) -> dict[str, Any]:
    """What is told of a workload's place."""
    return {
        "address": place.address,
        "address6": place.address6,
        "mac": place.mac,
        "interface": f"eth{place.number}",
        "aliases": list(place.aliases),
    }


def configure_inspect(parser: Parser) -> None:
    """Flags of network inspect."""
    add_format(parser, "text")
    parser.add_argument("names", nargs="+", metavar="NETWORK", help="name, id, or beginning of an id")


def run_inspect(arguments: Arguments, config: Config) -> int:
    """Print everything known of networks, as a JSON list."""
    from twinhull.network import networks

    engine = prepared(config)
    return show_each(arguments.names, lambda name: described(engine, networks.find(engine.home.db, name)))


def configure_rm(parser: Parser) -> None:
    """Flags of network rm."""
    parser.add_argument("-f", "--force", action="store_true", help="one that is not there is fine")
    parser.add_argument("names", nargs="+", metavar="NETWORK", help="name, id, or beginning of an id")


def run_rm(arguments: Arguments, config: Config) -> int:
    """Remove networks that nobody is on."""
    from twinhull.engine import networking

    home = prepared(config).home

    def remove(name: str) -> None:
        try:
            networking.remove(home, name)
        except NotFound:
            if not arguments.force:
                raise

    return each(arguments.names, remove)


def configure_connect(parser: Parser) -> None:
    """Flags of network connect."""
    parser.add_argument("--alias", action="append", default=[], metavar="NAME", help="one more name there")
    parser.add_argument("--ip", default="", metavar="ADDRESS", help="its address there")
    parser.add_argument("--ip6", default="", metavar="ADDRESS", help="its IPv6 address there")
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("name", metavar="NAME", help="name, id, or beginning of an id")


def run_connect(arguments: Arguments, config: Config) -> int:
    """Put a workload on one more network; a virtual machine that runs cannot be."""
    from twinhull.cli.attachments import checked
    from twinhull.engine import attaching
    from twinhull.model import Attachment

    wanted = checked(Attachment(arguments.network, arguments.ip, tuple(arguments.alias), arguments.ip6))
    attaching.attach(prepared(config).home, arguments.name, wanted)
    return 0


def configure_disconnect(parser: Parser) -> None:
    """Flags of network disconnect."""
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("name", metavar="NAME", help="name, id, or beginning of an id")


def run_disconnect(arguments: Arguments, config: Config) -> int:
    """Take a workload off a network; a virtual machine that runs stays."""
    from twinhull.engine import attaching

    attaching.detach(prepared(config).home, arguments.name, arguments.network)
    return 0


def configure_prune(parser: Parser) -> None:
    """Flags of network prune."""
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")


def run_prune(arguments: Arguments, config: Config) -> int:
    """Remove every network that no workload names, and what the host has of the default one."""
    from twinhull.engine import networking

    if not arguments.force and not confirmed("Remove every network that no workload names?"):
        return 1
    for name in networking.prune(prepared(config).home):
        print(name)
    return 0
