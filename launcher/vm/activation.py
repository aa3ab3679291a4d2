"""Socket activation without a manager: a program of 250 bytes that listens, and starts another once somebody
connects.

The guest's end of the relay is Python, whose start would take a guest's one processor under TCG a quarter of
the time that all of a start takes, whether somebody asks the agent or not. So this is started instead:

    listening PROGRAM [ARGUMENT…]     comes back once the socket is there; PROGRAM has it as descriptor 3
"""

from __future__ import annotations

from struct import pack

BASE = 0x400000  # where it is mapped
HEADERS = 64 + 56  # bytes of an ELF header, and of one program header
# x86-64; {address}: of the socket's name, {length}: its size, one byte.
CODE = """
48 89 e5            mov rbp, rsp            argc, argv, envp
6a 29 58            push 41; pop rax        socket(
6a 01 5f            push 1; pop rdi         AF_UNIX,
6a 01 5e            push 1; pop rsi         SOCK_STREAM,
99                  cdq                     0)
0f 05               syscall
97                  xchg edi, eax           its number stays in edi
6a 31 58            push 49; pop rax        bind(it,
be {address}        mov esi, address        address,
6a {length} 5a      push length; pop rdx    length)
0f 05               syscall
85 c0               test eax, eax
75 3e               jnz failed
6a 32 58            push 50; pop rax        listen(it,
6a 40 5e            push 64; pop rsi        64)
0f 05               syscall
6a 39 58            push 57; pop rax        fork()
0f 05               syscall
85 c0               test eax, eax
78 2d               js failed
75 30               jnz parent
89 f8               mov eax, edi
48 0f ba e8 20      bts rax, 32             a struct pollfd: events = POLLIN
50                  push rax
48 89 e7            mov rdi, rsp            poll(it,
6a 01 5e            push 1; pop rsi         1,
6a ff 5a            push -1; pop rdx        for ever)
6a 07 58            push 7; pop rax
0f 05               syscall
48 8b 45 00         mov rax, [rbp]
48 8d 54 c5 10      lea rdx, [rbp+8*rax+16]
48 8d 75 10         lea rsi, [rbp+16]
48 8b 3e            mov rdi, [rsi]          execve(argv[1], &argv[1], envp)
6a 3b 58            push 59; pop rax
0f 05               syscall
6a 01 5f   failed:  push 1; pop rdi
eb 02               jmp exit
31 ff      parent:  xor edi, edi
6a 3c 58   exit:    push 60; pop rax        exit(edi)
0f 05               syscall
"""


def listening(path: bytes) -> bytes:
    """The program's file. It makes the socket `path`, of at most 107 bytes."""
    name = (1).to_bytes(2, "little") + path + b"\0"  # struct sockaddr_un
    words = " ".join(line.split("  ")[0] for line in CODE.splitlines())
    size = len(bytes.fromhex(words.format(address="00" * 4, length="00")))
    address = (BASE + HEADERS + size).to_bytes(4, "little").hex()
    code = bytes.fromhex(words.format(address=address, length=f"{len(name):02x}")) + name
    # elf(5): the Elf64_Ehdr of an executable for x86-64, and one Elf64_Phdr, for all of the file.
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    header = pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, BASE + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    whole = HEADERS + len(code)
    return header + pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, whole, whole, 0x1000) + code
