"""Row tls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.harness import as_seen
from conformance.harness.covers import covers
from conformance.harness.errors import on_the_host
from conformance.harness.inside import Inside
from conformance.harness.sandbox import Sandbox
from conformance.harness.world import World
from fixtures.listeners import canary

# Two libraries' clients: each says the server's canary, or an error.
CLIENTS = {
    "curl": "curl -sS --max-time 20 %s",
    "python": "python3 -I -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read())' %s",
}
# The server is where the client is: one on the host's loopback is not to be reached from everywhere.
SERVE = r"""
import http.server, ssl, subprocess, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(given["canary"].encode())

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(given["certificate"])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = given["client"] % f"https://{given['host']}:{server.server_port}/"
done = subprocess.run(["sh", "-c", client], capture_output=True, text=True)
print(ascii([done.stdout, done.stderr]))
"""
HASHES = r"""
import hashlib, os
found = {}
for top in given["tops"]:
    for directory, _, names in os.walk(top):
        for name in names:
            path = os.path.join(directory, name)
            try:
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
            except OSError as error:
                found[path] = error.errno
print(ascii(found))
"""
# What a program that was told nothing trusts, and how many authorities that are.
DEFAULT = r"""
import ssl
context = ssl.create_default_context()
paths = ssl.get_default_verify_paths()
print(ascii([len(context.get_ca_certs()), paths.cafile, paths.capath, paths.openssl_capath]))
"""
PLACES = (
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
)
KEYS = r"""
import os
found = []
for top in ("/etc/ssl", "/etc/pki", "/etc/ca-certificates"):
    for directory, _, names in os.walk(top):
        for path in (os.path.join(directory, name) for name in names):
            try:
                with open(path, "rb") as file:
                    found += [path] if b"PRIVATE KEY" in file.read() else []
            except OSError:
                pass
print(ascii(found))
"""


def certificate(host: World) -> Path:
    """A server's certificate of the host's authority, in the project."""
    signed = host.services.https.ca.parent / "server.pem"
    return host.write(host.path / "server.pem", signed.read_bytes())


@covers("tls", "same", variant=("default", "tmux"))
@pytest.mark.parametrize("client", ["curl", "python"])
def test_a_server_of_the_hosts_authority_is_trusted(inside: Inside, host: World, client: str) -> None:
    """An HTTPS server whose certificate one of the host's authorities signed answers."""
    https = host.services.https
    served = host.write(host.path / "both.pem", https.server.read_bytes())
    nobody = "curl -sS --max-time 20 --capath /nonexistent --cacert /dev/null %s"

    def asked(where: Inside | World, certificate: object, client: str) -> list[str]:
        answered: list[str] = where.python(
            SERVE, canary=https.canary, host=https.host, certificate=str(certificate), client=client
        )
        return answered

    outside, _ = asked(host, served, CLIENTS[client])
    untrusting, _ = asked(inside, "/project/both.pem", nobody)
    found, said = asked(inside, "/project/both.pem", CLIENTS[client])

    with on_the_host():
        assert https.canary in outside
        assert untrusting == "", "a client that trusts nobody must not get it"
    assert https.canary in found, said


@covers("tls", "same")
def test_a_certificate_of_the_hosts_authority_verifies(inside: Inside, host: World) -> None:
    """What an authority of the host's has signed verifies inside as outside, without a network too."""
    name = certificate(host).name
    verify = f"openssl verify /project/{name}"
    outside = host.run(("openssl", "verify", str(host.path / name)))

    found = inside.sh(verify)
    untrusting = inside.sh(f"SSL_CERT_DIR=/nonexistent SSL_CERT_FILE=/dev/null {verify}")

    with on_the_host():
        assert outside.returncode == 0, outside.stderr
        assert untrusting.rc != 0
    assert found.rc == 0, found.stdout + found.stderr
    assert found.stdout.strip().endswith("OK")


@covers("tls", "same", alike=True)
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_an_authority_that_a_variable_names_is_trusted(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World], variable: str
) -> None:
    """An authority that SSL_CERT_FILE or SSL_CERT_DIR names, even below the home, is trusted inside."""
    world = new_world()
    name = certificate(world).name
    ca = world.services.https.ca.read_bytes()
    digest = world.output(("openssl", "x509", "-hash", "-noout"), stdin=ca)
    path = world.write(f"corp/certs/{digest}.0", ca)
    world.environ[variable] = str(path if variable == "SSL_CERT_FILE" else path.parent)
    outside = world.run(("openssl", "verify", str(world.path / name)))

    inside = fresh(world=world).inside
    # The host may trust it already: by the other variable's default nothing is found.
    other = "SSL_CERT_DIR" if variable == "SSL_CERT_FILE" else "SSL_CERT_FILE"
    found = inside.sh(f"{other}=/nonexistent openssl verify /project/{name}")
    without = inside.sh(f"SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent openssl verify /project/{name}")

    with on_the_host():
        assert outside.returncode == 0, outside.stderr
        assert without.rc != 0
    assert found.rc == 0, found.stdout + found.stderr
    assert inside.output(f"echo ${variable}") == world.environ[variable]


@covers("tls", "same", variant="default")
def test_what_other_variables_name_can_be_read(
    fresh: Callable[..., Sandbox], new_world: Callable[..., World]
) -> None:
    """What NODE_EXTRA_CA_CERTS and NIX_SSL_CERT_FILE name is readable at the same path, and only that."""
    world = new_world()
    ca = world.services.https.ca.read_bytes()
    beside = canary()
    world.write("corp/secret", beside)
    for variable in ("NODE_EXTRA_CA_CERTS", "NIX_SSL_CERT_FILE"):
        world.environ[variable] = str(world.write(f"corp/{variable}.pem", ca))

    inside = fresh(world=world).inside

    for variable in ("NODE_EXTRA_CA_CERTS", "NIX_SSL_CERT_FILE"):
        assert inside.output(f'cat "${variable}"') == ca.decode().strip()
        assert inside.sh(f'echo attack >>"${variable}"').rc != 0
    with on_the_host():
        assert beside in world.output(("cat", str(world.home / "corp/secret")))
    assert beside not in inside.sh(f"cat '{world.home}/corp/'*").stdout


@covers("tls", "same")
def test_the_system_trusts_the_same_authorities(inside: Inside, host: World) -> None:
    """The system's certificates, and what a library trusts unasked, are those of the host."""
    outside = host.python(HASHES, tops=PLACES)
    trusted = host.python(DEFAULT)

    with on_the_host():
        assert outside
    assert inside.python(HASHES, tops=PLACES) == outside
    assert inside.python(DEFAULT) == trusted


@covers("tls", "same")
def test_no_private_key_comes_along(inside: Inside, host: World) -> None:
    """/etc/ssl/private is not inside, and no file beside the certificates is a private key."""
    outside = host.python(KEYS)

    found = inside.python(KEYS)

    with on_the_host():
        assert "/etc/ssl/private/host.key" in outside, "the same probe has to see it on the host"
    assert found == []


@covers("tls", "same", means=True)
def test_certificates_cannot_be_written(inside: Inside) -> None:
    """Nothing can be added to what is trusted, nor taken away from it."""
    assert inside.sh("touch /etc/ssl/certs/attack.pem").rc != 0
    assert inside.sh('f=$(find /etc/ssl/certs /etc/pki -type f 2>/dev/null | head -n 1); : >>"$f"').rc != 0


@covers("tls", "absent", variant="off")
def test_without_it_the_hosts_authorities_are_nobodys(sandbox: Sandbox, inside: Inside, host: World) -> None:
    """With --without tls nothing verifies: no certificates of the host's, and no variable that names some."""
    name = certificate(host).name
    named = sandbox.environ["SSL_CERT_FILE"]
    outside = host.run(("openssl", "verify", str(host.path / name)))
    exported = as_seen.read(sandbox.pid, "environ").decode().split("\0")

    with on_the_host():
        assert outside.returncode == 0
        assert f"SSL_CERT_FILE={named}" in exported
        assert Path(named).exists()
    assert inside.sh(f"openssl verify /project/{name}").rc != 0
    assert inside.output("echo ${SSL_CERT_FILE-unset}") == "unset"
    assert [top for top in (*PLACES, named) if inside.file(top).exists] == []
