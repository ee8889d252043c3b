# Run inside the emulated machine: guest.sh PYTHON [COMMAND]. Loads the drivers, then runs the checks, or COMMAND in their place.
python=$1
command=$2
modprobe i2c-dev || exit 1
modprobe i2c-stub chip_addr=0x48,0x57
modprobe i2c-i801      # the chipset's own adapter
modprobe i2c-tiny-usb  # the adapter on USB, whose chips adapter.py simulates
modprobe xhci-pci
modprobe snd-aloop
modprobe vivid n_devs=1
modprobe udmabuf 2>/dev/null  # not in every kernel
for wait in 1 2 3 4 5 6 7 8 9 10; do
    grep -q tiny /sys/class/i2c-dev/*/name && break
    sleep 0.5
done
export PYTHONDONTWRITEBYTECODE=1 HOME=/tmp XDG_CACHE_HOME=/tmp/cache
[ -n "$command" ] && { eval "$command"; exit; }
exec "$python" -u -m pytest -p no:cacheprovider -o python_files='check_*.py' -rs --durations=8 tests/kernel/inside
