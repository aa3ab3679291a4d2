"""Keys of the kernel's (keyrings(7)), which no namespace but a user namespace keeps apart."""

from __future__ import annotations

from conformance.checks.probes.calls import PRELUDE

# A key in the user keyring of who runs this; its serial, and 0 if its owner may now do all with it.
# given: keyctl, add_key, name.
PLANT = f"""{PRELUDE}
def text(word):
    buffers.append(ctypes.create_string_buffer(word.encode()))
    return ctypes.addressof(buffers[-1])
buffers = []
USER = 2**32 - 4
name = given["name"]
key = call(given["add_key"], text("user"), text(name), text("payload-" + name), 8 + len(name), USER)
# KEYCTL_SETPERM: all for who has it and for its owner.
print(ascii([key, call(given["keyctl"], 5, key, 0x3F3F0000)]))
"""
# KEYCTL_UNLINK from the user keyring.
REMOVE = f"{PRELUDE}print(ascii(call(given['keyctl'], 9, given['key'], 2**32 - 4)))"
# By which ways a key's name or payload is had, in a session keyring of its own, as all inside have one.
# given: keyctl, request_key, key, name.
READ = f"""{PRELUDE}
def text(word):
    buffers.append(ctypes.create_string_buffer(word.encode()))
    return ctypes.addressof(buffers[-1])
buffers, found = [], []
SESSION, USER, USER_SESSION = 2**32 - 3, 2**32 - 4, 2**32 - 5
def keyctl(*arguments):
    return call(given["keyctl"], *arguments)
def read(key):
    payload = ctypes.create_string_buffer(300)
    return key > 0 and keyctl(11, key, ctypes.addressof(payload), 300) > 0 and payload.raw.count(name) > 0
def described():
    words = ctypes.create_string_buffer(300)
    return keyctl(6, given["key"], ctypes.addressof(words), 300) > 0 and words.raw.count(name) > 0
def searched(keyring):
    return read(keyctl(10, keyring, text("user"), text(given["name"]), 0))
def linked():
    return keyctl(8, USER, SESSION) == 0 and searched(SESSION)
def listed():
    with open("/proc/keys", "rb") as file:
        return name in file.read()
name = given["name"].encode()
keyctl(1, 0)  # KEYCTL_JOIN_SESSION_KEYRING
ways = {{
    "/proc/keys": listed,
    "by its serial": lambda: read(given["key"]),
    "described": described,
    "in the user keyring": lambda: searched(USER),
    "in the user session keyring": lambda: searched(USER_SESSION),
    "by a link": linked,
    "request_key": lambda: read(call(given["request_key"], text("user"), text(given["name"]), 0, 0)),
}}
print(ascii([way for way, attempt in ways.items() if attempt()]))
"""
