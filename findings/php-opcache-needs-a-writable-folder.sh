#!/bin/sh
# PHP 8.2: with opcache on, a command line program does not start where /tmp is read-only.
#
# Versions:  php 8.2.36-1~deb12u1 (Debian packages php8.2-cli, php8.2-common, php8.2-opcache); the same with 7.4.33.
# Behaviour: opcache makes a lock file in opcache.lockfile_path, /tmp by default. Where it cannot, as in a container with
#            a read-only root, PHP prints an error and ends with 254 before it runs the script, also where opcache would
#            have kept everything in the memory of this one process. 8.4.27 runs the script.
# Seen:      Fatal Error Unable to create lock file: Read-only file system (30); exit code 254
# Guessed:   opcache is an accelerator: what it cannot use it leaves out, with a warning, and the script runs.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 where the packages or a mount namespace cannot be had.
set -eu
version=8.2.36-1~deb12u1
command -v apt-get >/dev/null && command -v unshare >/dev/null || { echo "no apt-get, or no unshare here"; exit 77; }
work=$(mktemp -d -p /var/tmp)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get download -qq -o APT::Sandbox::User=root "php8.2-cli=$version" "php8.2-common=$version" "php8.2-opcache=$version" 2>/dev/null ||
  { echo "the packages of $version cannot be downloaded"; exit 77; }
mkdir root
for package in *.deb; do dpkg -x "$package" root; done
php=$work/root/usr/bin/php8.2
"$php" -n -v >/dev/null 2>&1 || { echo "the libraries of $php are not here"; exit 77; }
opcache=$(find "$work/root/usr/lib/php" -name opcache.so)
unshare -m true 2>/dev/null || { echo "no mount namespace can be made here"; exit 77; }

# run FLAGS prints what PHP says, and its exit code, with a /tmp that is mounted with these flags.
run() {
  unshare -m sh -c 'mount -t tmpfs -o "$0" none /tmp || exit 77; exec "$1" -n -d "zend_extension=$2" -d opcache.enable_cli=1 -r "echo \"ran\n\";"' \
    "$1" "$php" "$opcache" 2>&1 && echo "exit code 0" || echo "exit code $?"
}

writable=$(run rw)
readonly=$(run ro)
printf '/tmp writable:\n%s\n/tmp read-only:\n%s\n' "$writable" "$readonly"
case $writable in ran*"exit code 0"*) ;; *) echo "PHP does not run here"; exit 77 ;; esac
case $readonly in *"Unable to create lock file"*"exit code 254"*) echo "as described" ;; *) echo "changed"; exit 1 ;; esac
