#!/usr/bin/env bash
# Installs from Debian, and from npm, what the tests run and the machine lacks. Quick and silent about it when nothing is missing.
#
# It needs root, or sudo that asks no password; otherwise it prints the one line to run and fails. No service is started
# or enabled by it, and no database cluster is made: the tests start each server themselves, in a folder of their own.
set -euo pipefail
exec </dev/null
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # a user's has none of root's

# A program (or a file, where it begins with a slash), and the package that brings it.
needs=(
	make:make
	git:git
	gcc:gcc # the race detector links with cgo
	/usr/include/stdlib.h:libc6-dev
	mosquitto:mosquitto
	mosquitto_pub:mosquitto-clients
	qemu-aarch64-static:qemu-user-static
	qemu-arm-static:qemu-user-static
	promtool:prometheus
	prometheus:prometheus
	pg_ctl:postgresql # the release's version: 15 in Debian 12
	ssh-keygen:openssh-client
	node:nodejs # 18 or later
	npm:npm
	chromium-headless-shell:chromium-headless-shell # a browser without a screen, for the page
	systemd-analyze:systemd
	lintian:lintian
	debootstrap:debootstrap
	strace:strace
	mkfs.ext4:e2fsprogs
	socat:socat
	mbpoll:mbpoll
	/usr/lib/python3/dist-packages/pymodbus/version.py:python3-pymodbus # 3.0: later ones have other names
	/usr/lib/python3/dist-packages/serial_asyncio/__init__.py:python3-serial-asyncio
	/usr/lib/python3/dist-packages/serial/__init__.py:python3-serial
)
services="mosquitto postgresql prometheus prometheus-node-exporter"

# Packages of npm, in a folder of their own that the tests look into.
modules=(sparkplug-client@3.2.4 sparkplug-payload@1.0.3 esbuild@0.28.2 playwright-core@1.65.1 node-opcua-server@2.160.0)
folder=/usr/local/lib/edgechain-testenv

missing_modules() {
	local module
	for module in "${modules[@]}"; do
		[ -e "$folder/node_modules/${module%@*}/package.json" ] || echo "$module"
	done
}

missing() {
	local PATH=$PATH need
	for need in /usr/lib/postgresql/*/bin; do PATH+=:$need; done
	for need in "${needs[@]}"; do
		local what=${need%%:*}
		[[ $what == /* && -e $what ]] || type -P "$what" >/dev/null || echo "${need#*:}"
	done | sort -u
}

packages=$(missing)
absent=$(missing_modules)
[ -n "$packages$absent" ] || exit 0

if [ -n "$packages" ] && ! type -P apt-get >/dev/null; then
	echo "the tests need what these Debian packages hold, and this is not Debian:" $packages >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	self=$(readlink -f "${BASH_SOURCE[0]}")
	if type -P sudo >/dev/null && sudo -n true 2>/dev/null; then
		exec sudo -n env ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$self"
	fi
	echo "the tests need these packages:" $packages $absent >&2
	echo "run once, as root:  $self" >&2
	exit 1
fi

# Two checkouts may come here at once; the second then finds everything there.
mkdir -p /run/lock
exec 9>/run/lock/edgechain-testenv.lock
flock 9
packages=$(missing)

# They are taken from wherever npm is told to; nothing that they bring is run here.
install_modules() {
	local pause
	for pause in 10 30 60 0; do
		absent=$(missing_modules)
		[ -n "$absent" ] || return 0
		mkdir -p "$folder"
		npm install --prefix "$folder" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error "${modules[@]}" 9>&- || sleep "$pause"
	done
	absent=$(missing_modules)
	[ -z "$absent" ] || { echo "npm did not install:" $absent >&2; return 1; }
}
if [ -z "$packages" ]; then
	install_modules
	exit
fi

# Three files keep the installation quiet, and go again whatever happens: policy-rc.d forbids starting a service, the
# preset enabling it, the last one making PostgreSQL's default cluster. A policy-rc.d that was there is put back.
policy=/usr/sbin/policy-rc.d
preset=/run/systemd/system-preset/00-edgechain-testenv.preset
cluster=/etc/postgresql-common/createcluster.d/edgechain-testenv.conf
restore() {
	rm -f "$preset" "$cluster"
	if [ -e "$policy.before-edgechain" ]; then
		mv -f "$policy.before-edgechain" "$policy"
	elif grep -qs edgechain-testenv "$policy"; then
		rm -f "$policy"
	fi
}
trap restore EXIT
trap 'exit 1' HUP INT TERM
restore # what a run that was killed left behind
mkdir -p "${preset%/*}" "${cluster%/*}"
[ ! -e "$policy" ] || mv "$policy" "$policy.before-edgechain"
printf '#!/bin/sh\n# edgechain-testenv: no service starts while packages are installed.\nexit 101\n' >"$policy"
chmod 755 "$policy"
for service in $services; do echo "disable $service.service"; done >"$preset"
echo "create_main_cluster = false" >"$cluster"

fresh=()
for service in $services; do [ -e "/etc/init.d/$service" ] || fresh+=("$service"); done

echo "installing for the tests:" $packages
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0
	-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold)
log=$(mktemp)
pauses=(10 30 60 120)

# An update that fails is no reason to stop: it may be one of many sources that is broken, and not the one that has these
# packages. An installation that fails is begun again, for its cause may be gone by then: a mirror that is being written,
# a network that is not up yet, the machine's own daily update, for whose lists apt does not wait.
installed() {
	dpkg --force-confdef --force-confold --configure -a 9>&- || true # what an installation that was killed left behind
	"${apt[@]}" update 9>&- || true
	"${apt[@]}" install --no-install-recommends $packages 9>&-
}
until installed >"$log" 2>&1; do
	cat "$log" >&2
	if [ "${#pauses[@]}" = 0 ]; then
		rm -f "$log"
		exit 1
	fi
	echo "trying again in ${pauses[0]} seconds" >&2
	sleep "${pauses[0]}"
	pauses=("${pauses[@]:1}")
done
rm -f "$log"

# The preset speaks to systemd alone; a machine without it reads the links in /etc/rc?.d.
for service in "${fresh[@]}"; do
	[ ! -e "/etc/init.d/$service" ] || update-rc.d "$service" disable >/dev/null 2>&1 || true
done

packages=$(missing)
if [ -n "$packages" ]; then
	echo "still missing after the installation:" $packages >&2
	exit 1
fi
install_modules
