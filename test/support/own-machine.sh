# What becomes the first process of a machine of a test's own, in namespaces that are there already.
# $1: folder for its files   $2: the workspace that is installed there   $3: its name
set -eu
folder=$1
workspace=$2
name=$3
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/files" "$folder/work" "$folder/installed" "$folder/installing" "$folder/root"
root=$folder/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/files,workdir=$folder/work" "$root"
mkdir -p "$root/opt/millrace"
mount -t overlay overlay -o "lowerdir=$workspace,upperdir=$folder/installed,workdir=$folder/installing" "$root/opt/millrace"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
# Settings of the network are this machine's own. The others are the kernel's, and so everybody's: what is set here is
# set in a copy.
for each in abi debug dev fs kernel user vm; do
  [ -d "/proc/sys/$each" ] || continue
  mkdir -p "$folder/sys/$each"
  cp -r --no-preserve=all "/proc/sys/$each/." "$folder/sys/$each/" 2> "$folder/not-readable" || true
  mount --bind "$folder/sys/$each" "$root/proc/sys/$each"
done
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for each in dev run tmp; do mount -t tmpfs -o mode=755 tmpfs "$root/$each"; done
chmod 1777 "$root/tmp"
for each in null zero full random urandom tty; do
  touch "$root/dev/$each"
  mount --bind "/dev/$each" "$root/dev/$each"
done
mkdir -m 1777 "$root/dev/shm"
mkdir "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
# Nothing starts that this machine would start.
rm -rf "$root/etc/systemd/system"
mkdir "$root/etc/systemd/system"
for script in "$root"/etc/rc?.d/S*; do
  [ -e "$script" ] && mv "$script" "$(dirname "$script")/K01${script##*/S??}"
done
ln -s /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
: > "$root/etc/machine-id"
# apt-get knows of no other package than those that are installed.
rm -rf "$root"/var/lib/apt/lists/*
echo "$name" > "$root/etc/hostname"
printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" > "$root/etc/hosts"
hostname "$name"
ip link set lo up
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
