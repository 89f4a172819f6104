"""twinhull port: where a workload's ports are published."""

from __future__ import annotations

from twinhull.cli.arguments import add_format
from twinhull.cli.progress import prepared
from twinhull.cli.render import document
from twinhull.errors import InvalidRequest, NotFound
from twinhull.network import ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.cli.parser import Arguments, Parser
    from twinhull.config import Config
    from twinhull.model import Port


def configure_port(parser: Parser) -> None:
    """Flags of port."""
    add_format(parser, "text")
    parser.add_argument("name", metavar="NAME", help="name, id, or beginning of an id")
    parser.add_argument("port", nargs="?", default="", metavar="PORT[/PROTOCOL]", help="this one only")


def run_port(arguments: Arguments, config: Config) -> int:
    """Print where each published port is found on the host."""
    instance = prepared(config).find(arguments.name)
    found = sorted(instance.ports, key=lambda port: (port.port, port.protocol, port.address))
    if arguments.port:
        found = [port for port in found if (port.port, port.protocol) == wanted(arguments.port)]
        if not found:
            raise NotFound(
                f"{instance.name} does not publish port {arguments.port}", hint=f"twinhull port {instance.name}"
            )
    if arguments.format == "json":
        print(document([port._asdict() for port in found]))
        return 0
    for port in found:
        print(place(port) if arguments.port else f"{port.port}/{port.protocol} -> {place(port)}")
    return 0


def wanted(text: str) -> tuple[int, str]:
    """The number and protocol of "80" or "53/udp".

    Raises:
        InvalidRequest: it is no single port.
    """
    named = ports.exposed([text])
    if len(named) != 1:
        raise InvalidRequest(f"invalid port {text!r}: one is asked for at a time", hint="like 80, or 53/udp")
    return named[0].port, named[0].protocol


def place(port: Port) -> str:
    """0.0.0.0:8080, or [::1]:8080."""
    return f"[{port.address}]:{port.host_port}" if ":" in port.address else f"{port.address}:{port.host_port}"
