#!/bin/sh
# First boot of a kit with Raspberry Pi OS Bookworm: systemd runs this once (systemd.run= in cmdline.txt), then the board restarts.
# Trixie does the same by cloud-init (user-data, network-config). Nothing here needs a network.
#
# A power cut ends this anywhere, and the next start runs all of it again: each step may be done twice. What the system's own tools do,
# and do not do twice: raspberrypi-sys-mods (usr/lib/raspberrypi-sys-mods/imager_custom, regenerate_ssh_host_keys), userconf-pi (userconf).

# What is particular to this kit:
# @VALUES@

boot="${AFFECTKIT_BOOT:-/boot/firmware}"
root="${AFFECTKIT_ROOT:-}"
mods="$root/usr/lib/raspberrypi-sys-mods/imager_custom"
# What happened can be read on any computer, without a screen on the kit.
exec >>"$boot/affectkit/first-boot.log" 2>&1
# One step that fails must not keep the others from being done; each failure is in the log.
set -uf
failed=0
step() {
    echo "affectkit: $1"
    shift
    "$@" || { echo "affectkit: failed with status $?: $1" && failed=1; }
}

# Before all else: should the installation be cut off or fail, affectkit-install.service goes on with it at the next boot.
hand_over() {
    sh "$boot/affectkit/install.sh" --hook
}

set_hostname() {
    [ ! -x "$mods" ] || "$mods" set_hostname "$HOSTNAME_"
    # raspi-config changes the line with the old name, which it takes from /etc/hostname: after a power cut between the two it finds none.
    [ "$(cat "$root/etc/hostname")" = "$HOSTNAME_" ] || written "$root/etc/hostname" "$HOSTNAME_" || return
    grep -q "^127\.0\.1\.1[[:space:]]*$HOSTNAME_\$" "$root/etc/hosts" || {
        written "$root/etc/hosts" "$(sed '/^127\.0\.1\.1[[:space:]]/d' "$root/etc/hosts"; printf '127.0.1.1\t%s' "$HOSTNAME_")"
    }
}

# A file whole or as it was: written beside it, on the card before it takes the name.
written() {
    printf '%s\n' "$2" >"$1.affectkit" && sync "$1.affectkit" && mv "$1.affectkit" "$1"
}

# The user that the system was made with is renamed and gets the password; the wizard that asks for a user does not come up.
set_user() {
    "$root/usr/lib/userconf-pi/userconf" "$USER_" "$PASSWORD_HASH" || return
    # userconf sees by the name whether all has been done: a power cut after the first of its steps left the home and the group behind.
    entry="$(getent passwd "$USER_")" || return
    [ "$(echo "$entry" | cut -d: -f6)" = "/home/$USER_" ] || usermod -m -d "/home/$USER_" "$USER_" || return
    group="$(getent group "$(echo "$entry" | cut -d: -f4)" | cut -d: -f1)"
    [ "$group" = "$USER_" ] || groupmod -n "$USER_" "$group"
}

# As the stock first boot does (usr/lib/raspberrypi-sys-mods/firstboot), which these cards do without, as it would also make the root
# partition as large as the card. Here and not by the service for it, at the second boot: then the system may be read-only already.
make_host_keys() {
    "$root/usr/lib/raspberrypi-sys-mods/regenerate_ssh_host_keys"
}

# With a key and without passwords: nobody can try passwords over the network.
enable_ssh() {
    # The tool adds the key once more each time, behind a line that a power cut may have left without an end.
    rm -f "$root/home/$USER_/.ssh/authorized_keys"
    "$mods" enable_ssh -k "$SSH_KEY"
}

# The key was derived from the network's password, which is not on this card.
set_wifi() {
    "$mods" set_wlan "$WIFI_NAME" "$WIFI_KEY" "$WIFI_COUNTRY"
}

install_kit() {
    sh "$boot/affectkit/install.sh"
}

# The words that start this go from cmdline.txt. Blanks are written over them, in place: on FAT a file that is written anew or renamed has,
# for a moment, its folder's entry, its clusters or its length wrong, and without this one file the board does not boot. As long as it
# fits into one sector of 512 bytes, as it does, the card has the old line or the new one.
take_hook_away() {
    line="$(cat "$boot/cmdline.txt"; echo .)"
    line=" ${line%.}"
    bare="$line"
    for word in $line; do
        case "$word" in
            systemd.run=* | systemd.run_success_action=* | systemd.unit=kernel-command-line.target)
                bare="${bare%%" $word"*}$(printf '%*s' $((${#word} + 1)) '')${bare#*" $word"}"
                ;;
        esac
    done
    [ "$bare" != "$line" ] || return 0
    printf '%s' "${bare#?}" | dd of="$boot/cmdline.txt" bs=512 conv=notrunc,fsync 2>/dev/null || written "$boot/cmdline.txt" "${bare#?}"
}

if [ -f "$boot/affectkit/install.sh" ]; then installs=yes; else installs=; fi
[ -z "$installs" ] || step "what goes on with the installation should the power fail" hand_over
step "host name $HOSTNAME_" set_hostname
step "user $USER_" set_user
[ ! -x "$root/usr/lib/raspberrypi-sys-mods/regenerate_ssh_host_keys" ] || step "SSH host keys" make_host_keys
[ -z "$SSH_KEY" ] || step "SSH with the given key" enable_ssh
[ -z "$WIFI_NAME" ] || step "Wi-Fi" set_wifi
[ -z "$installs" ] || step "installation" install_kit

# All that was done is on the card before the words go: not the other way round.
sync
# Not again: they go whatever failed, or the board would restart for ever.
step "this script is not run again" take_hook_away
sync
# The hash of the password has been used; nobody who finds the card should have it.
rm -f "$boot/userconf.txt" "$boot/firstrun.sh"
if [ "$failed" -eq 0 ]; then echo "affectkit: first boot ended, all done"; else echo "affectkit: first boot ended, SOMETHING FAILED, see above"; fi
sync
# Success also after a failure: only then does systemd restart the board.
exit 0
