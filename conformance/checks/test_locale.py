"""Row locale."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import HarnessError, on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.process import output

LOCALES = Path("/usr/lib/locale")
SOURCE = Path("/usr/share/i18n/locales/de_DE")
NAME = "fixture_FX.UTF-8"  # in no distribution: it works only where this host's own locales are
KNOWN = (
    *("LANG", "LANGUAGE", "LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION"),
    *("LC_MEASUREMENT", "LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE"),
    *("LC_TIME", "LOCALE_ARCHIVE"),
)
# What a C library makes of it, and not only what the variables say. A locale that is not there is an error.
BEHAVIOUR = r"""
import locale, time
try:
    locale.setlocale(locale.LC_ALL, "")
    found = {
        "charmap": locale.nl_langinfo(locale.CODESET),
        "number": locale.format_string("%.2f", 1234567.5, grouping=True),
        "sorted": sorted(["z", "\u00e4", "a", "Z"], key=locale.strxfrm),
        "day": time.strftime("%A %d. %B", time.gmtime(0)),
    }
except locale.Error as error:
    found = {"error": str(error)}
print(ascii(found))
"""


def variables(inside: Inside) -> dict[str, str]:
    """Those of locale(7). Not asked of Python, which sets LC_CTYPE by itself."""
    lines = [line.partition("=") for line in inside.output("env").splitlines()]
    return {name: value for name, _, value in lines if name in KNOWN}


@covers("locale", "same")
def test_the_variables_are_equal(fresh: Callable[..., Sandbox]) -> None:
    """LANG, LANGUAGE, LC_ALL and every other LC_ variable of locale(7) are equal inside and outside."""
    given = {
        "LANG": "C.UTF-8",
        "LANGUAGE": "de:en",
        "LC_TIME": "POSIX",
        "LC_MONETARY": "de_AT.UTF-8@euro",
        "LC_PAPER": "C",
    }

    found = variables(fresh(environ=given).inside)

    assert found == given


@covers("locale", "same")
def test_text_is_utf_8_as_on_the_host(inside: Inside, host: World) -> None:
    """The host's LANG really works inside: its encoding, and characters counted as characters."""
    outside = host.python(BEHAVIOUR)
    # The control: without a locale the same line counts bytes.
    bytes_ = inside.output("printf 'äöü' | LC_ALL=C wc -m")

    found = inside.python(BEHAVIOUR)
    characters = inside.output("printf 'äöü' | wc -m")

    with on_the_host():
        assert outside["charmap"] == "UTF-8"
    assert found == outside
    assert (bytes_, characters) == ("6", "3")


@covers("locale", "same", variant="default")
def test_a_locale_of_the_hosts_own_works(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """A locale that only this host has sorts, and writes numbers and days, inside as outside."""
    world = new_world()
    if not SOURCE.exists():
        raise HarnessError(f"this machine has no {SOURCE}", "apt-get install --no-install-recommends locales")
    directory = world.services.scratch("locales") / "locale"
    shutil.copytree(LOCALES, directory, symlinks=True)
    made = str(directory / NAME.replace("UTF-8", "utf8"))
    output(("localedef", "--no-archive", "-i", SOURCE.name, "-f", "UTF-8", made))
    world.mounts.bind(directory, LOCALES)
    world.environ["LC_ALL"] = NAME

    outside = world.python(BEHAVIOUR)
    found = fresh(world=world).inside.python(BEHAVIOUR)
    world.mounts.unbind(LOCALES)

    with on_the_host():
        assert outside["number"] == "1.234.567,50"
        assert outside["sorted"] == ["a", "ä", "z", "Z"]
    assert found == outside


@covers("locale", "same", means=True)
def test_locales_are_those_of_usr(inside: Inside, host: World) -> None:
    """`locale -a` lists the host's, and nothing can be written where they are."""
    outside = host.output(("locale", "-a"))

    assert inside.output("locale -a") == outside
    assert inside.sh(f"touch {LOCALES}/attack").rc != 0


@covers("locale", "absent", variant="off")
def test_without_it_the_hosts_locale_stays_outside(sandbox: Sandbox, inside: Inside) -> None:
    """With --without locale no variable of locale(7) comes along, and programs speak as in the C locale."""
    exported = as_seen.read(sandbox.pid, "environ").decode().split("\0")

    with on_the_host():
        assert {"LANG=C.UTF-8", "LC_ALL=C.UTF-8", "LC_TIME=POSIX", "LANGUAGE=de:en"} <= set(exported)
    assert variables(inside) == {}
    assert inside.output("printf 'äöü' | wc -m") == "6"
