#!/bin/busybox sh
# The first process of the test VM, from its initrd. Mounts the host's files, read-only, under a layer in memory, and
# goes on there. When a step fails it exits, which the kernel answers with a panic and QEMU with its end.
set -e
export PATH=/bin
/bin/busybox --install -s /bin

mkdir -p /proc /sys /dev /host /layer /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

while read -r module; do
  insmod "/modules/$module"
done < /modules/order

mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host
mount -t tmpfs layer /layer
mkdir /layer/files /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/files,workdir=/layer/work host /root

# modprobe of the host's kmod finds the modules of this kernel, and the kernel finds modprobe: what a test asks for
# (a link of kind ipvlan) is loaded when it asks.
mkdir -p /root/lib/modules
mount --bind "/host$(cat /modules/directory)" /root/lib/modules

mount -t tmpfs -o mode=755 run /root/run
mkdir /root/run/vm
cp /start.sh /command.sh /root/run/vm
for directory in proc sys dev; do
  mount --move "/$directory" "/root/$directory"
done
exec switch_root /root /bin/sh /run/vm/start.sh
