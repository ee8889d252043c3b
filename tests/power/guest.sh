# Run inside the emulated machine: guest.sh BYTES OUT COMMAND... mounts the disk at /mnt and runs COMMAND, its words between marks in the log.
length=$1
out=$2
shift 2
modprobe virtio_blk
modprobe ext4
for wait in 1 2 3 4 5 6 7 8 9 10; do
    grep -qs powercut /sys/block/vd*/serial && break
    sleep 0.5
done
serial=$(grep -ls powercut /sys/block/vd*/serial) || { echo "no disk"; exit 90; }
name=$(basename "$(dirname "$serial")")
# without a cache that can be flushed, the log would have no flushes
cat "/sys/block/$name/queue/write_cache"
[ "$(cat "/sys/block/$name/queue/write_cache")" = "write back" ] || exit 91
mkdir -p /tmp/mnt
# as the kit's fstab has it
mount -t ext4 -o data=ordered,noatime "/dev/$name" /tmp/mnt || exit 92
export POWER_MARKS="/dev/$name:$length" POWER_DISK=/tmp/mnt POWER_OUT="$out"
export PYTHONDONTWRITEBYTECODE=1 HOME=/tmp XDG_CACHE_HOME=/tmp/cache
"$@"
status=$?
# what the kernel has yet to write is written in its own time, as on a kit: the next commit of the journal, and the writeback after it
sleep 8
umount /tmp/mnt || exit 93
exit $status
