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
	"  recover       undo what killed snapshots have left\n"
	"  status        show the snapshots that go on\n"
	"  speed         change how fast one of them reads\n"
	"  cancel        give one of them up\n"
	"  images ...    list, show, delete, download, verify the images in a store\n"
	"  restore       put a set of images back onto files or block devices\n"
	"  help COMMAND  the options of a command\n"
	"\n"
	"  --version     print the version\n"
	"\n"
	"The manual is qmpsnap(1).\n";

/* Longer than the 4095 bytes that ISO C promises; the compilers that build this take any length. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
static const char snapshot[] =
	"usage: qmpsnap snapshot --qmp ADDRESS [OPTION]...\n"
	"       qmpsnap snapshot --image FILE --image-format FORMAT [OPTION]...\n"
	"\n"
	"Takes an image of the guest's disks as they are at one instant, while the guest\n"
	"runs on; or of an image file that no QEMU uses.\n"
	"\n"
	"What is taken:\n"
	"  --qmp ADDRESS        the guest's QMP monitor: unix:PATH, a path with a '/',\n"
	"                       tcp:HOST:PORT, fd:N\n"
	"  --disk DISK          device id or path, drive id, node name or file; repeatable;\n"
	"                       default: all inserted writable disks\n"
	"  --firmware           UEFI variables (writable pflash), too\n"
	"  --allow-plaintext    encrypted disks, too; their images aren't encrypted\n"
	"  --image FILE         no guest: an image file, with what a qcow2 stands on\n"
	"  --image-format FORMAT\n"
	"                       its format, which is never guessed: raw, qcow2, vmdk, vdi,\n"
	"                       vhdx, vpc, qed, qcow, parallels\n"
	"  --force-share        read it although it is locked\n"
	"\n"
	"How it is taken:\n"
	"  --method METHOD      auto (default), stream, backup, mirror, or cold, which holds\n"
	"                       the guest while it copies\n"
	"  --flavour FLAVOUR    of stream: auto (default), filter or job\n"
	"  --qga ADDRESS        the socket of the guest's agent, unix:PATH or fd:N: the file\n"
	"                       systems are frozen around the instant\n"
	"  --quiesce HOW        auto (default): if the agent answers; require: or no snapshot;\n"
	"                       off: never\n"
	"  --freeze-deadline TIME\n"
	"                       how long a freeze may take; default: 10s\n"
	"  --zero-scan WHEN     read the disks once beforehand to leave out what is all zeroes:\n"
	"                       auto (default), always or never\n"
	"  --speed RATE         read at most this much a second, over all disks: 100M;\n"
	"                       auto (default): slow down while the guest's writes are slow\n"
	"  --parallel N         disks uploaded at once; default: 2\n"
	"  --release-monitor    leave the monitor to other clients during the upload\n"
	"  --scratch DIR        where data that the guest overwrites, and copies, are kept\n"
	"                       meanwhile; default: $TMPDIR, else /var/tmp\n"
	"  --scratch-limit SIZE most that may be kept there\n"
	"  --wait TIME          so long for another snapshot of the same guest: 10m\n"
	"  --deadline TIME      of the whole snapshot; it is undone then\n"
	"  --stall-timeout TIME how long nothing may move; default: 30m\n"
	"  --no-guard           no process that undoes all if this one is killed\n"
	"\n"
	"The images:\n"
	"  --name NAME          the image's name; default: <guest>-<UTC time>\n"
	"  --guest-id ID        names the guest; default: QEMU's name for it, or its UUID\n"
	"  --format FORMAT      qcow2, raw; by --method cold and of --image also vmdk, vdi;\n"
	"                       default: raw for raw block devices, else qcow2\n"
	"  --property KEY=VALUE a property of the image; repeatable\n"
	"  --backup-type TYPE   the images are backups of that type: daily, weekly, ...\n"
	"  --rotation N         once all is well, delete the guest's oldest sets of that type\n"
	"                       beyond N, the new one counted\n"
	"\n"
	"Where they go:\n"
	"  --to STORE           dir:PATH, file:PATH, - (stdout), glance:, glance:URL,\n"
	"                       s3://BUCKET/PREFIX, swift:CONTAINER, http(s)://URL;\n"
	"                       default: a directory of images (see qmpsnap(1), STORES)\n"
	"  --force              file:PATH and http: may replace what exists\n"
	"  --os-cloud NAME      for glance: and swift: the cloud of clouds.yaml; default:\n"
	"                       OS_CLOUD, else the other OS_* variables\n"
	"  --insecure           don't verify certificates\n"
	"  --header HEADER      for http: 'Name: value' to be sent along; repeatable\n"
	"  --header-file FILE   more of them, a line each, where they are secret\n"
	"  --cacert FILE        for https: the authorities that its certificate is checked by\n"
	"\n"
	"In Glance:\n"
	"  --base-image ID      the image the guest was made from: its properties are\n"
	"                       inherited\n"
	"  --tag TAG            of the images; repeatable\n"
	"  --visibility WHOSE   private (default), shared, community or public\n"
	"  --protected          the images can't be deleted until that is taken off them\n"
	"  --store NAME         which of the image service's stores\n"
	"  --transfer HOW       chunked (default), or sized: under a Content-Length\n"
	"  --import             stage the bytes, then import them\n"
	"\n"
	"What is printed:\n"
	"  --dry-run            print the steps and touch nothing\n"
	"  --json               one JSON object a line instead of text\n"
	"  -q, --quiet          no progress\n"
	"  -v, --verbose        print the steps; twice: also the traffic\n"
	"  -h, --help           this text\n";
#pragma GCC diagnostic pop

static const char inspect[] =
	"usage: qmpsnap inspect --qmp ADDRESS [--json] [-v]\n"
	"\n"
	"Shows the guest, its disks, whether a snapshot of them is possible and if not,\n"
	"why, and what this QEMU can do.  Changes nothing.\n"
	"\n"
	"  --qmp ADDRESS        the guest's QMP monitor: unix:PATH, a path with a '/',\n"
	"                       tcp:HOST:PORT, fd:N\n"
	"  --json               one JSON object (see qmpsnap(1), INSPECT)\n"
	"  -v, --verbose        say more; twice: also the traffic\n"
	"  -h, --help           this text\n";

static const char recover[] =
	"usage: qmpsnap recover --qmp ADDRESS [--dry-run] [-v]\n"
	"       qmpsnap recover --all [--dry-run] [-v]\n"
	"\n"
	"Undoes what snapshots have left that were killed together with their guards, and\n"
	"prints it, a line each.  Leaves live ones alone, and all that is others'.\n"
	"\n"
	"  --qmp ADDRESS        the guest's QMP monitor: unix:PATH, a path with a '/',\n"
	"                       tcp:HOST:PORT, fd:N\n"
	"  --all                what this user's journals tell of, whatever the guest\n"
	"  --dry-run            print it and touch nothing\n"
	"  -v, --verbose        say more; twice: also the traffic\n"
	"  -h, --help           this text\n";

static const char status[] =
	"usage: qmpsnap status [--json] [RUN]\n"
	"\n"
	"Shows the snapshots of this user that go on, or only the one with the id RUN.\n"
	"\n"
	"  --json               one JSON object a line (see qmpsnap(1), RUNS)\n"
	"  -h, --help           this text\n";

static const char speed[] =
	"usage: qmpsnap speed RUN RATE|auto\n"
	"\n"
	"Changes the --speed of the snapshot with the id RUN, which 'qmpsnap status' shows.\n"
	"\n"
	"  -h, --help           this text\n";

static const char cancel[] =
	"usage: qmpsnap cancel RUN\n"
	"\n"
	"Gives the snapshot with the id RUN up: everything is undone, and it ends with the\n"
	"exit code 143.\n"
	"\n"
	"  -h, --help           this text\n";

#define SELECTION                                                                                  \
	"  --from STORE         dir:PATH, glance:, glance:URL, s3://BUCKET/PREFIX,\n"              \
	"                       swift:CONTAINER; default: where snapshots go\n"                    \
	"  --guest GUEST        only those of this guest: its name or UUID\n"                      \
	"  --set ID             only those of this set\n"                                          \
	"  --tag TAG            only those with this tag\n"                                        \
	"  --since TIME         only those of this time (UTC: 2026-11-23, 2026-11-23T13:20) or\n"  \
	"                       later, or of the last: 36h\n"                                      \
	"  --before TIME        only those of before it\n"                                         \
	"  --all                also those that qmpsnap didn't make, or didn't publish\n"          \
	"  --os-cloud NAME      for glance: and swift: the cloud of clouds.yaml\n"                 \
	"  --insecure           don't verify the cloud's certificates\n"

#define CLOSING                                                                                    \
	"  --json               one JSON object a line; the last has all images in it\n"           \
	"  -q, --quiet          no progress\n"                                                     \
	"  -v, --verbose        say more; twice: also the traffic\n"                               \
	"  -h, --help           this text\n"

static const char images[] =
	"usage: qmpsnap images list [OPTION]... [IMAGE]...\n"
	"       qmpsnap images show [OPTION]... IMAGE...\n"
	"       qmpsnap images delete [--force] [OPTION]... [IMAGE]...\n"
	"       qmpsnap images download [--into FOLDER|-o FILE] [--force] [OPTION]... [IMAGE]...\n"
	"       qmpsnap images verify [--deep] [OPTION]... [IMAGE]...\n"
	"\n"
	"IMAGE is the id of an image or of a set, or a name.\n"
	"\n" SELECTION
	"  --into FOLDER        where downloads go, as NAME-ID.FORMAT; default: here\n"
	"  -o, --output FILE    where the download of one image goes\n"
	"  --force              replace the file; delete also what qmpsnap didn't make, but\n"
	"                       never what is protected or another project's\n"
	"  --deep               read the images as a whole, and have qemu-img check them\n"
	"  --scratch DIR        where they are read to; default: $TMPDIR, else /var/tmp\n" CLOSING;

static const char restore[] =
	"usage: qmpsnap restore --target [DISK=][FORMAT:]PATH... [--force] [OPTION]... IMAGE\n"
	"\n"
	"Puts an image, or all images of a set, back onto files or block devices that nobody\n"
	"uses.  IMAGE is the id of an image or of a set, or a name.\n"
	"\n"
	"  --target DISK=PATH   where the image of this disk goes; of a single image: PATH.\n"
	"                       With the format it shall have: DISK=raw:PATH, DISK=qcow2:PATH\n"
	"  --format FORMAT      the same for all; default: the image's, raw for block devices\n"
	"  --force              over what exists\n" SELECTION
	"  --scratch DIR        where images are kept meanwhile; default: $TMPDIR, else\n"
	"                       /var/tmp\n" CLOSING;

const char *usage_text(enum command command)
{
	switch (command) {
	case COMMAND_SNAPSHOT:
		return snapshot;
	case COMMAND_INSPECT:
		return inspect;
	case COMMAND_RECOVER:
		return recover;
	case COMMAND_STATUS:
		return status;
	case COMMAND_SPEED:
		return speed;
	case COMMAND_CANCEL:
		return cancel;
	case COMMAND_LIST:
	case COMMAND_SHOW:
	case COMMAND_DELETE:
	case COMMAND_DOWNLOAD:
	case COMMAND_VERIFY:
		return images;
	case COMMAND_RESTORE:
		return restore;
	case COMMAND_NONE:
	case COMMAND_HELP:
	case COMMAND_VERSION:
		break;
	}
	return overview;
}
