"""`twinhull advise --compose FILE`: every service of an application, one after the other, and all together."""

from __future__ import annotations

import os
import sys
from functools import cache

from twinhull.advice import price, report
from twinhull.advice.compose import Service
from twinhull.advice.included import application as services_of
from twinhull.advice.interpolation import Malformed, dotenv, tree
from twinhull.advice.unchecked import Unchecked, as_typed_bytes, measuring
from twinhull.cli.advise import STOPPED, wishes_of
from twinhull.cli.parser import Parser
from twinhull.cli.progress import prepared
from twinhull.cli.render import document
from twinhull.cli.run import configure_create, request_of
from twinhull.engine import names
from twinhull.engine.abilities import read_abilities
from twinhull.engine.counsel import Counsel, check_platform, counsel, require_runnable
from twinhull.errors import HostUnfit, InvalidRequest
from twinhull.host import extras
from twinhull.model import Request
from twinhull.quantities import quantity
from twinhull.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from twinhull.advice.question import Abilities, Wishes
    from twinhull.cli.parser import Arguments
    from twinhull.config import Config
    from twinhull.engine.state import Home

STDIN = "-"
MAX_BYTES = 1 << 20
MAX_CHARACTERS = 4 << 20  # of a file whose aliases are written out: a line of aliases of aliases stands for gigabytes
TOP_LEFT_OUT = ("models",)  # what the application has besides services


class Application(NamedTuple):
    """A file with its services, and what of it was not read."""

    path: str
    project: str
    services: tuple[Service, ...]
    left_out: tuple[str, ...]


def advise_compose(arguments: Arguments, config: Config) -> int:
    """Advise on every service; 1 if one must stop or all together do not fit.

    Raises:
        InvalidRequest: the file is not one of Compose's, with the line.
        HostUnfit: nothing here reads YAML.
    """
    if arguments.image:
        raise InvalidRequest("advise: an image and --compose exclude each other", hint="leave one out")
    said = request_of(arguments, config)._replace(isolation="auto", untrusted=False, accept_weak_wall=False)
    if said != Request("", isolation="auto"):
        raise InvalidRequest(
            "advise: with --compose, what a workload asks for is in the file", hint="leave the flags out"
        )
    application = read_application(arguments.compose)
    with prepared(config) as engine:
        here = read_abilities(engine.home, modules=arguments.needs_kernel_module, prove=arguments.probe)
        requests = [request_for(service, application, config) for service in application.services]
        found = [
            advised(engine.home, service, request, wishes_of(arguments), here, application)
            for service, request in zip(application.services, requests, strict=True)
        ]
    together = sum(memory_bytes(each) for each in found)
    exceeded = 0 < arguments.memory_budget < together
    if arguments.format == "json":
        print(document(described(application, found, together, arguments.memory_budget)))
    else:
        print("\n".join(lines(application, found, together, arguments.memory_budget)))
    return STOPPED if exceeded or any(each.advice.choice == "stop" for each in found) else 0


def advised(
    home: Home, service: Service, request: Request, wishes: Wishes, here: Abilities, application: Application
) -> Counsel:
    """The answer for one service.

    Raises:
        InvalidRequest: its image's name is none, or `run` would refuse it.
    """
    wishes = wishes._replace(
        untrusted=wishes.untrusted or service.untrusted,
        instances=wishes.instances * service.replicas,
        memory_budget_bytes=0,  # it is for all together
    )
    try:
        found = counsel(home, request, wishes, asks=service.asks, here=here, extra=("--detach",))
    except InvalidRequest as error:
        raise placed(service, application, error, "image") from None
    try:
        require_runnable(home, request, found.advice)
    except InvalidRequest as error:
        raise placed(service, application, error) from None
    return found


def read_application(path: str) -> Application:
    """Read a compose file with its variables, and the files that its services extend; "-" is standard input.

    Raises:
        InvalidRequest: it cannot be read or means nothing; the message begins with FILE:LINE.
    """
    directory = os.getcwd() if path == STDIN else os.path.dirname(os.path.abspath(path))
    usual = variables_of(directory)

    def read(other: str, project: str, files: tuple[str, ...]) -> dict[str, Any]:
        # What the file that is asked about has goes before: an included one may be set from above.
        return load(other, {**variables_of(project, files), **usual, **os.environ})

    try:
        whole = load(path, {**usual, **os.environ})
        project = str(whole.get("name") or os.path.basename(directory)).lower()
        listed = services_of(whole, directory, read, project)
    except Malformed as error:
        raise located(path, error) from None
    return Application(path, project, tuple(listed), tuple(key for key in TOP_LEFT_OUT if key in whole))


def variables_of(directory: str, files: Sequence[str] = ()) -> dict[str, str]:
    """The variables of a project: of these files, else of its .env if it has one.

    Raises:
        InvalidRequest: one of the files cannot be read.
    """
    found: dict[str, str] = {}
    for path in files or (f"{directory}/.env",):
        try:
            with open(path, encoding="utf-8") as file:
                found |= dotenv(file.read())
        except (OSError, UnicodeDecodeError) as error:
            if files:
                raise InvalidRequest(f"{path}: {getattr(error, 'strerror', '') or 'not UTF-8'}") from None
    return found


def load(path: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """One file as a mapping with its variables replaced.

    Raises:
        InvalidRequest: it cannot be read, or is no YAML.
        Malformed: it is no mapping, or its variables mean nothing.
    """
    value = parsed(path, lambda yaml, text: constructed(yaml, text, path))
    if not isinstance(value, dict):
        raise Malformed((), "it is no mapping")
    replaced: dict[str, Any] = tree(value, variables)
    return replaced


def constructed(yaml: Any, text: str, path: str) -> Any:
    """What a text of YAML says.

    Raises:
        InvalidRequest: its aliases stand for more than a compose file can be.
    """
    node = yaml.compose(text)
    if node is not None and written_out(node, {}) > MAX_CHARACTERS:
        raise InvalidRequest(
            f"{path}: its aliases stand for more than {MAX_CHARACTERS >> 20} MiB", hint="write fewer aliases of aliases"
        )
    return yaml.load(text)


def written_out(node: Any, known: dict[int, int]) -> int:
    """The characters of a node with every alias written out; one that contains itself counts as nothing."""
    if isinstance(node.value, str):
        return len(node.value) + 1
    if id(node) not in known:
        known[id(node)] = 0
        parts = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(written_out(part, known) for part in parts)
    return known[id(node)]


def parsed(path: str, how: Callable[[Any, str], Any]) -> Any:
    """What a YAML library makes of a file.

    Raises:
        InvalidRequest: it cannot be read, or is no YAML: FILE:LINE and what is wrong.
        HostUnfit: the library is not installed.
    """
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError:
        raise HostUnfit(
            "reading compose files takes the Python package ruamel.yaml", hint=extras.command("compose")
        ) from None
    try:
        content = content_of(path)
        if len(content) > MAX_BYTES:
            raise InvalidRequest(f"{path}: larger than a compose file can be ({MAX_BYTES >> 20} MiB)")
        return how(YAML(typ="safe", pure=True), content.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: {getattr(error, 'strerror', '') or 'not UTF-8'}") from None
    except RecursionError:
        raise InvalidRequest(f"{path}: nested too deep") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise InvalidRequest(f"{path}:{mark.line + 1 if mark else 1}: {problem}", hint="mend the file") from None


def content_of(path: str) -> bytes:
    """The beginning of a file, one byte more than there may be."""
    if path == STDIN:
        return standard_input()
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


@cache
def standard_input() -> bytes:
    """The same of standard input, which can be read once and is looked at again for the line of an error."""
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def placed(service: Service, application: Application, error: InvalidRequest, key: str = "") -> InvalidRequest:
    """The same error with the service and the line of what it is about."""
    path = ("services", service.name, *([key] if key else []))
    return located(service.file or application.path, Malformed(path, f"service {service.name}: {error.message}"))


def located(path: str, error: Malformed) -> InvalidRequest:
    """The same error with the line it is about."""
    path = error.file or path
    node = parsed(path, lambda yaml, text: yaml.compose(text))
    line = node.start_mark.line if node else 0
    for step in error.path:
        found = child(node, step)
        if found is None:
            break
        line, node = found
    return InvalidRequest(f"{path}:{line + 1}: {error.message}", hint="docker compose config shows what Compose reads")


def child(node: Any, step: str | int) -> tuple[int, Any] | None:
    """The line of a key or an entry below a node, and its value."""
    if isinstance(step, int):
        entries = node.value if isinstance(node.value, list) else []
        known = step < len(entries) and not isinstance(entries[step], tuple)
        return (entries[step].start_mark.line, entries[step]) if known else None
    for pair in node.value if isinstance(node.value, list) else []:
        if isinstance(pair, tuple) and pair[0].value == step:
            return pair[0].start_mark.line, pair[1]
    return None


def request_for(service: Service, application: Application, config: Config) -> Request:
    """What `run` would be asked for.

    Raises:
        InvalidRequest: `run` would refuse a value of it.
    """
    image = service.image or f"{application.project}-{service.name}"  # what Compose calls the image that it builds
    parser = Parser("run")
    configure_create(parser)
    try:
        request = request_of(parser.parse_args([*service.flags, image]), config)
    except InvalidRequest as error:
        raise placed(service, application, error) from None
    try:
        check_platform(request.platform)
    except InvalidRequest as error:
        raise placed(service, application, error, "platform") from None
    return request._replace(
        name=request.name or name_of(service, application),
        environment=service.environment,
        volumes=service.volumes,
        entrypoint=service.entrypoint,
        command=service.command,
    )


def name_of(service: Service, application: Application) -> str:
    """The service's own name; where that is none for a workload, as one letter is, with the project's before it."""
    return next(filter(names.is_valid, (service.name, f"{application.project}-{service.name}")), "")


def memory_bytes(found: Counsel) -> float:
    """What a service takes as advised; 0 where nothing was measured."""
    choice, measured = found.advice.choice, found.question.measured
    instances = found.question.wishes.instances
    return 0.0 if choice == "stop" else float(getattr(measured, choice).memory_of(instances))


def unweighed(application: Application, found: Sequence[Counsel], budget: int) -> Iterator[Unchecked]:
    """The limit for all together, where what some take of it was not measured."""
    silent = [pair for pair in zip(application.services, found, strict=True) if is_unweighed(pair[1])]
    if not budget or not silent:
        return
    names_of = ", ".join(service.name for service, _ in silent)
    commands = dict.fromkeys(measuring(each.question, each.advice.choice) for _, each in silent)
    yield Unchecked(
        f"--memory-budget {as_typed_bytes(budget)}",
        f"no memory of {names_of} was measured under this kernel",
        ", ".join(commands),
    )


def is_unweighed(found: Counsel) -> bool:
    """True for a service that would run and whose memory was not measured."""
    return found.advice.choice != "stop" and not memory_bytes(found)


def lines(application: Application, found: Sequence[Counsel], together: float, budget: int) -> list[str]:
    """The answers for people: a line a service, the reasons and the command under it."""
    width = max(len(service.name) for service in application.services)
    shown = []
    for service, each in zip(application.services, found, strict=True):
        shown.append(report.wrap(f"{service.name:{width}}  {title(service, each)}", " " * (width + 2)))
        for row in each.advice.fired:
            shown += report.reason(row)
        shown += report.not_checked(each.advice)
        if each.advice.choice == "stop":
            shown += [report.wrap(f"  would change it: {change}", "    ") for change in each.advice.would_change]
        shown += [f"  {line}" for line in report.unserved(each.not_served)]
        if service.left_out:
            shown.append(report.wrap(f"  ! not carried over: {', '.join(service.left_out)}", "    "))
        shown += report.continued(each.command) if each.command else ()
    shown.append(report.wrap(f"here         {report.machine(found[0].question.here)}", " " * 13))
    if together:
        limit = f", more than the {quantity(budget, 'B')} that you allow" if 0 < budget < together else ""
        shown.append(
            report.wrap(f"together     {quantity(together, 'B')} of memory as advised{limit}{whose(found)}", " " * 13)
        )
    shown += [report.wrap(f"! {row.sentence()}", "  ") for row in unweighed(application, found, budget)]
    shown += [f"! not read: {key}" for key in application.left_out]
    return shown


def whose(found: Sequence[Counsel]) -> str:
    """Whose memory the sum is of, where not each service's own image was measured."""
    weighed = [each for each in found if memory_bytes(each)]
    others = dict.fromkeys(price.whose(each.question, each.advice.choice) for each in weighed)
    return "".join(filter(None, others))


def title(service: Service, found: Counsel) -> str:
    """The verdict on a service, and what it is about."""
    parts = [found.question.workload]
    if not service.image:
        parts.append("built by the application")
    if found.question.wishes.instances > 1:
        parts.append(f"{found.question.wishes.instances} instances")
    if service.profiles:
        parts.append(f"only with the profile {' or '.join(service.profiles)}")
    return f"{report.HEADS[found.advice.choice]}: {', '.join(parts)}"


def described(application: Application, found: Sequence[Counsel], together: float, budget: int) -> dict[str, Any]:
    """The answers for programs."""
    return {
        "schema": report.SCHEMA,
        "file": application.path,
        "services": [
            {
                "name": service.name,
                "profiles": list(service.profiles),
                "built": not service.image,
                "left_out": list(service.left_out),
                **report.answer(*each),
            }
            for service, each in zip(application.services, found, strict=True)
        ],
        "memory_bytes": together,
        "memory_budget_exceeded": 0 < budget < together,
        "not_checked": [row._asdict() for row in unweighed(application, found, budget)],
        "left_out": list(application.left_out),
    }
