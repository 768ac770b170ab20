# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# common.sh - what the shell scripts share; sourced by them after `set -euo pipefail`.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PATH=$PATH:/usr/sbin:/sbin # depmod and modprobe, for users who are not root

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Prints a folder that outlives a build: the user's cache, or .cache in the source tree for CI and
# for users without a home that can be written.
cache_dir() {
	local dir=$TOP/.cache
	if [ "${CI:-}" != true ]; then
		local users=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/qmpsnap
		if mkdir -p "$users" 2>/dev/null && [ -w "$users" ]; then
			dir=$users
		fi
	fi
	mkdir -p "$dir"
	printf '%s\n' "$dir"
}

# stop_process PID: ends one process that this script started and waits until it is gone.
stop_process() {
	local i
	kill "$1" 2>/dev/null || return 0
	for ((i = 0; i < 50; i++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}
