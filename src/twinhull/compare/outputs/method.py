"""How a comparison was made, in the words that every output shares."""

from __future__ import annotations

from twinhull.compare import figures
from twinhull.compare.findings import started_by
from twinhull.compare.outputs import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twinhull.compare.outputs.document import Document


def wall(result: Document) -> str:
    """Who promises the wall around the guest. TCG is never called one."""
    accelerator, why = result["host"]["accelerator"], result["host"].get("accelerator_reason", "")
    because = f" ({why})" if why else ""
    if accelerator == "kvm":
        return "The VM ran under KVM: the processor keeps the guest apart."
    if accelerator == "tcg":
        return f"KVM is not usable{because}. The VM ran under TCG: slow, and no security boundary."
    return f"No VM ran: {document.reason(result, 'vm')}."


def method(result: Document) -> list[tuple[str, str]]:
    """Name and text of each thing that a reader needs to judge or repeat the figures."""
    image, noise = result["image"], result["host"]["noise"]
    ran = " ".join(image["command"]) or "the image's own command"
    effort = f" (--{result['effort']})" if "effort" in result else ""
    sizes = [len(values) for values in result["samples"].values()]
    return [
        ("Image", " ".join(filter(None, (image["reference"], image.get("platform", ""), image["digest"])))),
        ("Command", ran),
        ("Effort", f"{document.pairs(result)} pairs, {result['took_s']:.0f} s{effort}"),
        ("Samples", f"{sum(sizes)} of {len(sizes)} quantities"),
        ("Order", "warm-ups thrown away; subjects take turns, and chance decides which comes first"),
        (
            "Figures",
            "median [95 % interval, bootstrap], or (range) of fewer than 6; an interval of a ratio that holds 1 "
            "shows no difference",
        ),
        ("Noise of the machine", "not measured" if noise is None else f"{noise:.1%} (spread of equal work)"),
        *smallest_difference(result),
        ("Machine", machine(result)),
        ("twinhull", result["version"]),
    ]


def smallest_difference(result: Document) -> list[tuple[str, str]]:
    """The difference of a start that these samples could have shown, where it is stated."""
    for compared in result.get("comparisons", ()):
        named = (compared["quantity"], compared["first"], compared["second"])
        if named == (started_by(result["samples"]), "vm", "container") and compared["resolution"] is not None:
            return [("Smallest difference", f"{compared['resolution']:.0%} of a start could have been shown")]
    return []


def machine(result: Document) -> str:
    """The machine in one sentence."""
    host = result["host"]
    memory = figures.quantity(host["memory_bytes"], "B")
    inside = host.get("host", {}).get("hypervisor", "")
    guest = f"; itself a guest of {inside}" if inside else ""
    return f"{host['processors']} x {host['processor']}, {memory}, {host['system']}, Linux {host['kernel']}{guest}"
