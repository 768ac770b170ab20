/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/usage.h"

static const char overview[] =
	"usage: qmpsnap COMMAND [OPTION]...\n"
	"\n"
	"Takes point-in-time images of the disks of a running QEMU guest over its QMP\n"
	"monitor and delivers them to an image store.\n"
	"\n"
	"  snapshot      take a snapshot of the guest's disks\n"
	"  inspect       show the guest, its disks, and what this QEMU can do\n"
	"  recover       remove what a killed qmpsnap left in the guest's QEMU\n"
	"  help COMMAND  the options of a command\n"
	"\n"
	"  --version     print the version\n"
	"\n"
	"The manual is qmpsnap(1).\n";

static const char snapshot[] =
	"usage: qmpsnap snapshot --qmp ADDRESS [OPTION]...\n"
	"\n"
	"Takes an image of the guest's disks as they are at one instant, while the guest\n"
	"runs on.\n"
	"\n"
	"  --qmp ADDRESS        the guest's QMP monitor: unix:PATH, a path with a '/', fd:N\n"
	"  --to STORE           dir:PATH, file:PATH, - (stdout), glance:URL; default: a\n"
	"                       directory of images (see qmpsnap(1), STORES)\n"
	"  --name NAME          the image's name; default: <guest>-<UTC time>\n"
	"  --disk DISK          device id or path, drive id, node name or file; repeatable;\n"
	"                       default: all inserted writable disks\n"
	"  --format FORMAT      qcow2 (default) or raw\n"
	"  --property KEY=VALUE a property of the image; repeatable\n"
	"  --guest-id ID        names the guest; default: QEMU's name for it, or its UUID\n"
	"  --speed RATE         read at most this much a second, over all disks: 100M\n"
	"  --parallel N         disks uploaded at once; default: 2\n"
	"  --scratch DIR        where data that the guest overwrites is kept meanwhile;\n"
	"                       default: $TMPDIR, else /var/tmp\n"
	"  --scratch-limit SIZE most that may be kept there\n"
	"  --force              file:PATH may replace a file that exists\n"
	"  --no-guard           no process that undoes all if this one is killed\n"
	"  --dry-run            print the steps and touch nothing\n"
	"  --json               one JSON object a line instead of text\n"
	"  -q, --quiet          no progress\n"
	"  -v, --verbose        print the steps; twice: also the traffic\n"
	"  -h, --help           this text\n";

static const char inspect[] =
	"usage: qmpsnap inspect --qmp ADDRESS [--json] [-v]\n"
	"\n"
	"Shows the guest, its disks, whether a snapshot of them is possible and if not,\n"
	"why, and what this QEMU can do.  Changes nothing.\n"
	"\n"
	"  --qmp ADDRESS        the guest's QMP monitor: unix:PATH, a path with a '/', fd:N\n"
	"  --json               one JSON object (see qmpsnap(1), INSPECT)\n"
	"  -v, --verbose        say more; twice: also the traffic\n"
	"  -h, --help           this text\n";

static const char recover[] =
	"usage: qmpsnap recover --qmp ADDRESS [-v]\n"
	"\n"
	"Removes from the guest's QEMU whatever a killed qmpsnap left there and prints it,\n"
	"a line each.  Touches nothing of others and never continues a guest.\n"
	"\n"
	"  --qmp ADDRESS        the guest's QMP monitor: unix:PATH, a path with a '/', fd:N\n"
	"  -v, --verbose        say more; twice: also the traffic\n"
	"  -h, --help           this text\n";

const char *usage_text(enum command command)
{
	switch (command) {
	case COMMAND_SNAPSHOT:
		return snapshot;
	case COMMAND_INSPECT:
		return inspect;
	case COMMAND_RECOVER:
		return recover;
	case COMMAND_NONE:
	case COMMAND_HELP:
	case COMMAND_VERSION:
		break;
	}
	return overview;
}
