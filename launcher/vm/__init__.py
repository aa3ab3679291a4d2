"""Parts of a QEMU virtual machine: a kernel and its modules, the initramfs, the accelerator."""
