# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# hold_ports COUNT - sets ports[] to free TCP ports of the loopback, which nobody else is given until
# the script ends.  Servers of the same user that set SO_REUSEADDR or SO_REUSEPORT, as all here do,
# can listen on them meanwhile.  (A port that was merely seen to be free may be another's when a
# server gets to it, and with SO_REUSEPORT two servers then share its connections.)
hold_ports() {
	local held
	exec {held}< <(exec /usr/bin/python3 -P - "$1" $$ <<-'END'
		import os
		import socket
		import sys
		import time
		sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
		for one in sockets:
		    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
		    one.bind(("127.0.0.1", 0))
		print(*(one.getsockname()[1] for one in sockets), flush=True)
		while os.path.exists("/proc/" + sys.argv[2]):
		    time.sleep(0.2)
		END
	)
	read -r -a ports <&"$held"
	exec {held}<&-
	[ "${#ports[@]}" = "$1" ]
}
