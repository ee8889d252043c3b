#!/bin/sh
# Installs the kit from this folder of the boot partition, as root, without a network: sh /boot/firmware/affectkit/install.sh
# Called at the first boot by cloud-init (Trixie) or firstrun.sh (Bookworm), and by affectkit-install.service at each boot until it is
# done. May be interrupted and called again at any time. What happens is told in first-boot.log beside this script.
set -u
here="$(cd "$(dirname "$0")" && pwd)"
if ! command -v python3 >/dev/null 2>&1; then
    echo "affectkit: NOT INSTALLED: this system has no python3; write the card anew with Raspberry Pi OS Lite (64-bit)" |
        tee -a "$here/first-boot.log"
    # The early call only prepares: it must not stop the boot.
    case " $* " in *" --hook "*) exit 0 ;; esac
    exit 1
fi
# Whatever the caller had set: the system's own Python, and nothing written beside this script.
unset PYTHONPATH PYTHONHOME
exec python3 -B "$here/install.py" "$@"
