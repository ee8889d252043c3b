#!/bin/sh
# First boot of a kit with Raspberry Pi OS Bookworm: systemd runs this once (systemd.run= in cmdline.txt), then the board restarts.
# Trixie does the same by cloud-init (user-data, network-config). Nothing here needs a network.

# What is particular to this kit:
# @VALUES@

boot="${AFFECTKIT_BOOT:-/boot/firmware}"
root="${AFFECTKIT_ROOT:-}"
mods="$root/usr/lib/raspberrypi-sys-mods/imager_custom"
# What happened can be read on any computer, without a screen on the kit.
exec >>"$boot/affectkit/first-boot.log" 2>&1
# One step that fails must not keep the others from being done; each failure is in the log.
set -u
failed=0
step() {
    echo "affectkit: $1"
    shift
    "$@" || { echo "affectkit: failed with status $?: $1" && failed=1; }
}

set_hostname() {
    if [ -x "$mods" ]; then
        "$mods" set_hostname "$HOSTNAME_"
    else
        echo "$HOSTNAME_" >"$root/etc/hostname" && sed -i "s/^127\.0\.1\.1.*/127.0.1.1\t$HOSTNAME_/" "$root/etc/hosts"
    fi
}

# The user that the system was made with is renamed and gets the password; the wizard that asks for a user does not come up.
set_user() {
    "$root/usr/lib/userconf-pi/userconf" "$USER_" "$PASSWORD_HASH"
}

# With a key and without passwords: nobody can try passwords over the network.
enable_ssh() {
    "$mods" enable_ssh -k "$SSH_KEY"
}

# The key was derived from the network's password, which is not on this card.
set_wifi() {
    "$mods" set_wlan "$WIFI_NAME" "$WIFI_KEY" "$WIFI_COUNTRY"
}

install_kit() {
    sh "$boot/affectkit/install.sh"
}

step "host name $HOSTNAME_" set_hostname
step "user $USER_" set_user
[ -z "$SSH_KEY" ] || step "SSH with the given key" enable_ssh
[ -z "$WIFI_NAME" ] || step "Wi-Fi" set_wifi
[ ! -f "$boot/affectkit/install.sh" ] || step "installation" install_kit

# Not again: these words go from cmdline.txt whatever failed, or the board would restart for ever.
sed -i -e 's| systemd\.run=[^ ]*||' -e 's| systemd\.run_success_action=[^ ]*||' -e 's| systemd\.unit=kernel-command-line\.target||' \
    "$boot/cmdline.txt"
# The hash of the password has been used; nobody who finds the card should have it.
rm -f "$boot/userconf.txt" "$boot/firstrun.sh"
if [ "$failed" -eq 0 ]; then echo "affectkit: first boot ended, all done"; else echo "affectkit: first boot ended, SOMETHING FAILED, see above"; fi
sync
# Success also after a failure: only then does systemd restart the board.
exit 0
