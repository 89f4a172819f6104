"""Our table of the host's packet filter, and our place in everybody else's.

One table an installation: sets with the links of its networks, maps with the published ports, and
chains that never change. A `drop` of another table's chain cannot be overruled from ours, so where
Docker, ufw or firewalld drop what is forwarded, an accept for our link goes into their chain.
"""

from __future__ import annotations

from twinhull.errors import HostUnfit
from twinhull.host import netlink
from twinhull.host.facts import read
from twinhull.network.programs import first_of, run, succeed
from twinhull.plan import nftables
from twinhull.plan.nftables import NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6, Chain
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable

VERSION = 3  # of the rules below; a table of another version is replaced
MARK_CHAIN = "crossing"  # its handle is remembered: another handle, another table
COMMENT = "twinhull"
OWN = "twinhull"  # the tables of all state directories begin so

# guard     route_localnet opens 127/8 of the host to its neighbours (CVE-2020-8558): closed before DNAT.
# leaving   what a workload sends out carries the host's address; so does what it sends to a published
#           port of its own network (hairpin) and what the host sends from 127/8, or answers would not
#           come back through the host.
# crossing  a workload's ports that were not published are not reachable by routing to its address, nor one network
#           from another; an internal network (inner) leads nowhere else.
# entering  a workload's way to the host is its own gateway: another network's name server would tell names of that
#           network, and from an internal one no other address of the host is reached.
#           A question for a name that went to a workload's own name server (resolvers) is one to its gateway.
# telling   a hairpin looks like a detour; a redirect would teach the workload a way around the DNAT.
RULES = """
table ip TABLE {}
delete table ip TABLE
table ip TABLE {
  set links { type ifname; }
  set pairs { type ifname . ifname; }
  set inner { type ifname; }
  set subnets { type ipv4_addr; flags interval; }
  map resolvers { type ipv4_addr : ipv4_addr; }
  map published { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map published_on { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  chain guard {
    type filter hook prerouting priority raw; policy accept;
    iifname != "lo" ip daddr 127.0.0.0/8 drop
    iifname != "lo" ip saddr 127.0.0.0/8 drop
  }
  chain arriving {
    type nat hook prerouting priority dstnat; policy accept;
    iifname @links udp dport 53 fib daddr type local dnat ip to ip saddr map @resolvers
    iifname @links tcp dport 53 fib daddr type local dnat ip to ip saddr map @resolvers
    fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @published_on
    fib daddr type local dnat ip to meta l4proto . th dport map @published
  }
  chain local {
    type nat hook output priority -100; policy accept;
    fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @published_on
    fib daddr type local dnat ip to meta l4proto . th dport map @published
  }
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @subnets oifname != @links masquerade
    ip saddr @subnets oifname @links ct status dnat masquerade
    oifname @links ip saddr 127.0.0.0/8 masquerade
  }
  chain crossing {
    type filter hook forward priority filter; policy accept;
    oifname @links ct state established,related accept
    iifname . oifname @pairs accept
    iifname @inner drop
    oifname @links ct status dnat accept
    oifname @links drop
  }
  chain entering {
    type filter hook input priority filter; policy accept;
    iifname @links ct status dnat accept
    iifname @links ip daddr @subnets fib daddr . iif type unicast drop
    iifname @inner fib daddr . iif type unicast drop
  }
  chain telling {
    type filter hook output priority filter; policy accept;
    oifname @links icmp type redirect drop
  }
}
"""

# The same for IPv6, loaded where a network has it. Ports are published by a process there (ports.proxy_ops).
RULES6 = """
table ip6 TABLE {}
delete table ip6 TABLE
table ip6 TABLE {
  set links { type ifname; }
  set pairs { type ifname . ifname; }
  set inner { type ifname; }
  set subnets { type ipv6_addr; flags interval; }
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    ip6 saddr @subnets oifname != @links masquerade
  }
  chain crossing {
    type filter hook forward priority filter; policy accept;
    oifname @links ct state established,related accept
    iifname . oifname @pairs accept
    iifname @inner drop
    oifname @links drop
  }
  chain entering {
    type filter hook input priority filter; policy accept;
    iifname @links ip6 daddr @subnets fib daddr . iif type unicast drop
    iifname @inner fib daddr . iif type unicast drop
  }
  chain telling {
    type filter hook output priority filter; policy accept;
    oifname @links icmpv6 type nd-redirect drop
  }
}
"""

# What a foreign chain must let through: forwarded traffic both ways, on input the name server's and DHCP.
ACCEPTS = {
    "forward": (("in", ""), ("out", "")),
    "input": (("in", "udp dport 53"), ("in", "tcp dport 53"), ("in", "udp dport 67")),
}
FIREWALLD = "firewalld"  # its chains accept by policy and reject with their last rule


class Member(NamedTuple):
    """What the table knows of a network."""

    link: str
    subnet: str
    internal: bool = False
    subnet6: str = ""


def load(table: str, networks: Iterable[Member]) -> None:
    """Load the table with these networks, in one transaction that replaces an older one.

    Raises:
        HostUnfit: nft is missing, or refuses.
    """
    elements = [line for member in networks for line in changes("ip", table, member, "add")]
    succeed(["nft", "-f", "-"], RULES.replace("TABLE", table) + "".join(elements))


def load6(table: str, networks: Iterable[Member]) -> None:
    """The same for the table of IPv6, which is there for networks that have it; for none, it is removed."""
    members = [member for member in networks if member.subnet6]
    if not members:
        succeed(["nft", "-f", "-"], f"table ip6 {table} {{}}\ndelete table ip6 {table}\n")
        return
    elements = [line for member in members for line in changes("ip6", table, member, "add")]
    succeed(["nft", "-f", "-"], RULES6.replace("TABLE", table) + "".join(elements))


def admit(table: str, member: Member) -> None:
    """Put a network into the table that is there; one that is in it is fine."""
    succeed(["nft", "-f", "-"], "".join(changes("ip", table, member, "add")))


def dismiss(table: str, member: Member) -> None:
    """Take a network out of the table; one that is not in it is fine."""
    present, absent = changes("ip", table, member, "add"), changes("ip", table, member, "delete")
    succeed(["nft", "-f", "-"], "".join([*present, *absent]))


def changes(family: str, table: str, member: Member, verb: str) -> list[str]:
    """Return the commands that add or delete the elements of a network."""
    elements = [("subnets", member.subnet6 if family == "ip6" else member.subnet), ("links", f'"{member.link}"')]
    elements.append(("pairs", f'"{member.link}" . "{member.link}"'))
    if member.internal:
        elements.append(("inner", f'"{member.link}"'))
    return [f"{verb} element {family} {table} {name} {{ {element} }}\n" for name, element in elements]


def chains(sock: socket, *, ipv6: bool = False) -> list[Chain]:
    """Return every chain of the families that see our packets, in one round trip each."""
    families = (NFPROTO_IPV4, NFPROTO_INET, *((NFPROTO_IPV6,) if ipv6 else ()))
    return [nftables.chain_of(body) for family in families for body in netlink.dump(sock, nftables.dump_chains(family))]


def handle_of(found: Iterable[Chain], table: str, family: int = NFPROTO_IPV4) -> int:
    """Return what tells our table from one that was loaded before or after it; 0 if there is none."""
    for chain in found:
        if (chain.table, chain.name, chain.family) == (table, MARK_CHAIN, family):
            return chain.handle
    return 0


def closed(sock: socket, found: Iterable[Chain], link: str) -> list[Chain]:
    """Return the foreign chains that drop what is not named, and do not name our link."""
    suspects = [chain for chain in found if chain.hook and (chain.drops or chain.table == FIREWALLD)]
    return [chain for chain in suspects if not names(sock, chain, link)]


def names(sock: socket, chain: Chain, link: str) -> bool:
    """True if a rule of the chain names the link; firewalld names it where its zones branch off."""
    rules = netlink.dump(sock, nftables.dump_rules(chain, whole_table=chain.table == FIREWALLD))
    needle = link.encode() + b"\0"
    return any(needle in rule for rule in rules)


def open_for(link: str, foreign: Iterable[Chain]) -> None:
    """Put accepts for our link into foreign chains.

    Raises:
        HostUnfit: a tool is missing or its owner locked the table.
    """
    for chain in foreign:
        family = nftables.FAMILIES[chain.family]
        for way, match in ACCEPTS[chain.hook]:
            if is_iptables(chain):
                succeed([iptables(chain), "-w", "-I", chain.name, *iptables_rule(link, way, match)])
            else:
                rule = f'{"iifname" if way == "in" else "oifname"} "{link}" {match} accept comment "{COMMENT}"'
                insert(chain, f"insert rule {family} {chain.table} {chain.name} {rule}\n", link)
    open_legacy(link)


def insert(chain: Chain, text: str, link: str) -> None:
    """Put a rule first into a foreign nft chain; firewalld's newer tables take none from others."""
    try:
        succeed(["nft", "-f", "-"], text)
    except HostUnfit as error:
        if chain.table != FIREWALLD:
            raise
        raise HostUnfit(
            f"firewalld drops what {link} forwards and locks its table",
            hint=f"firewall-cmd --permanent --zone=trusted --add-interface={link} && firewall-cmd --reload",
        ) from error


def open_legacy(link: str) -> None:
    """The same for the old packet filter, which nfnetlink does not show."""
    if "filter" not in read("/proc/net/ip_tables_names").split():
        return
    program = first_of("iptables-legacy", "iptables")
    for hook, rules in ACCEPTS.items():
        for way, match in rules:
            rule = [hook.upper(), *iptables_rule(link, way, match)]
            if run([program, "-w", "-C", *rule])[0] != 0:
                succeed([program, "-w", "-I", *rule])


def is_iptables(chain: Chain) -> bool:
    """True if the chain is iptables': a rule it cannot read would make it refuse the whole table."""
    families = (NFPROTO_IPV4, NFPROTO_IPV6)
    return chain.family in families and chain.table == "filter" and chain.name in ("FORWARD", "INPUT")


def iptables(chain: Chain) -> str:
    """Return the program that changes a chain of iptables'."""
    prefix = "ip6tables" if chain.family == NFPROTO_IPV6 else "iptables"
    return first_of(f"{prefix}-nft", prefix)


def iptables_rule(link: str, way: str, match: str) -> list[str]:
    """Return a rule as iptables takes it; "udp dport 53" is -p udp --dport 53."""
    protocol, _, port = match.partition(" dport ")
    ports = ["-p", protocol, "--dport", port] if match else []
    return ["-i" if way == "in" else "-o", link, *ports, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT"]


def close_for(link: str, found: Iterable[Chain]) -> None:
    """Take our accepts out of foreign chains; none is fine."""
    for chain in found:
        if not chain.hook or chain.table.partition("_")[0] == OWN:
            continue
        if is_iptables(chain):
            remove_iptables(iptables(chain), link, chain.hook)
        else:
            remove_rules(chain, link)
    if "filter" in read("/proc/net/ip_tables_names").split():
        for hook in ACCEPTS:
            remove_iptables(first_of("iptables-legacy", "iptables"), link, hook)


def remove_iptables(program: str, link: str, hook: str) -> None:
    """Delete our rules from one chain until there is none."""
    for way, match in ACCEPTS[hook]:
        while run([program, "-w", "-D", hook.upper(), *iptables_rule(link, way, match)])[0] == 0:
            pass


def remove_rules(chain: Chain, link: str) -> None:
    """Delete the rules of one nft chain that name our link and carry our comment."""
    place = [nftables.FAMILIES[chain.family], chain.table, chain.name]
    for line in run(["nft", "-a", "list", "chain", *place])[1].splitlines():
        handle = line.rpartition("# handle ")[2]
        if handle.isdecimal() and f'"{link}"' in line and f'comment "{COMMENT}"' in line:
            succeed(["nft", "delete", "rule", *place, "handle", handle])


def unload(table: str) -> None:
    """Remove our table; absent is fine."""
    succeed(["nft", "-f", "-"], f"table ip {table} {{}}\ndelete table ip {table}\n")
