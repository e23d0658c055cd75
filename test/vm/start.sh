# The first process of the test VM, on the host's files: runs the command, tells the host how it ended.
#
# Three ports lead to the host: what the command prints (1), what it complains (2), and how far things are (3):
# "started", then "exit STATUS".
set -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
echo test-vm > /proc/sys/kernel/hostname
ip link set lo up

# Named by the number of their virtio device and their own: /dev/vport1p3.
port() {
  until [ -e /dev/vport*p"$1" ]; do
    sleep 0.02
  done
  echo /dev/vport*p"$1"
}

# A port can be opened once only, a pipe by whoever likes to write to /dev/stderr.
mkfifo /run/vm/out /run/vm/err
cat /run/vm/out > "$(port 1)" &
out=$!
cat /run/vm/err > "$(port 2)" &
err=$!
exec 3> "$(port 3)"

echo started >&3
status=0
setsid --wait /bin/sh /run/vm/command.sh < /dev/null > /run/vm/out 2> /run/vm/err 3>&- || status=$?

# What the command left behind must not hold its output open.
for process in /proc/[0-9]*; do
  case ${process#/proc/} in
    1 | "$out" | "$err") ;;
    *) kill -9 "${process#/proc/}" 2> /dev/null || true ;;
  esac
done
wait "$out" "$err"

echo "exit $status" >&3
echo o > /proc/sysrq-trigger
exec sleep infinity
