"""What a backend lacks, said of hosts written by hand."""

from __future__ import annotations

from launcher.host.model import Hypervisor
from launcher.missing import Missing, report
from tests.launcher.subjects import host


def lacking(backend: str, hypervisor: Hypervisor) -> list[Missing]:
    """What is said beside programs that packages bring."""
    on = host(hypervisor=hypervisor.replace(xorg=True))
    found = report(on, backend, shell=True)  # noqa: S604  (no shell of ours)
    return [m for m in found if m.mend]


def test_a_vm_needs_a_kernel_and_no_other_backend_does() -> None:
    without = Hypervisor(no_kernel=("there is none", "have one fetched"))
    (said,) = lacking("vm", without)

    assert (said.program, said.required, said.why, said.fix) == (
        "kernel",
        True,
        "there is none",
        "have one fetched",
    )
    assert lacking("bubblewrap", without) == []


def test_a_vm_needs_what_its_guest_runs_from_usr() -> None:
    (said,) = lacking("vm", Hypervisor(kernel="/k", lacks=("/usr/bin/bwrap, which the guest runs",)))

    assert said.required
    assert "/usr/bin/bwrap" in said.what


def test_a_vm_with_a_kernel_lacks_none() -> None:
    assert lacking("vm", Hypervisor(kernel="/k")) == []


def test_passt_is_required_for_a_network_alone() -> None:
    def passt(*, network: bool) -> Missing:
        on = host(hypervisor=Hypervisor(kernel="/k"))
        found = report(on, "vm", shell=True, network=network)  # noqa: S604  (no shell of ours)
        return next(m for m in found if m.program == "passt")

    assert (passt(network=True).required, passt(network=False).required) == (True, False)
    assert "passt   (or without a network: --no-network)" in passt(network=True).fix


def test_a_vm_without_a_screen_starts_and_it_is_said_what_would_bring_one() -> None:
    on = host(hypervisor=Hypervisor(kernel="/k"))
    found = report(on, "vm", shell=True)  # noqa: S604  (no shell of ours)
    (said,) = (m for m in found if "Xorg" in m.what)

    assert not said.required
    assert "apt-get install xserver-xorg-core" in said.fix
