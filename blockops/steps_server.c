/* SPDX-License-Identifier: Apache-2.0
 *
 * QEMU's NBD server, on a listening socket that we make and pass by getfd, or, where no descriptor
 * can be passed, on one that QEMU makes in our folder.  QEMU has one NBD
 * server at most and no command that tells whether it runs: starting one is the question, so this
 * comes before every other change. */
#include "blockops/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SERVER_PROBE_MS = 1000 };

static void socket_address(const struct qmpsnap_snapshot *s, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(address->sun_path, sizeof(address->sun_path), "%s/nbd", s->server_folder);
}

static char *private_folder(void)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char *folder = NULL;

	/* sun_path has 108 bytes; ours takes up to 23 of them. */
	if (!runtime || runtime[0] != '/' || strlen(runtime) > 80)
		runtime = "/tmp";
	if (asprintf(&folder, "%s/qmpsnap-XXXXXX", runtime) < 0)
		return NULL;
	if (!mkdtemp(folder)) { /* 0700 */
		free(folder);
		return NULL;
	}
	return folder;
}

void server_unlink(struct qmpsnap_snapshot *s)
{
	struct sockaddr_un address;

	if (!s->server_folder)
		return;
	socket_address(s, &address);
	(void)unlink(address.sun_path);
	(void)rmdir(s->server_folder);
	free(s->server_folder);
	s->server_folder = NULL;
}

static bool make_folder(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	s->server_folder = private_folder();
	if (!s->server_folder)
		return error_errno(err, QMPSNAP_REFUSED, errno,
			"no private folder can be made for the NBD socket");
	s->server = SERVER_IN_DOUBT;
	return record_server(s, err);
}

static bool listen_in_folder(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	struct sockaddr_un address;

	socket_address(s, &address);
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listen_fd < 0 ||
		bind(s->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(s->listen_fd, SNAPSHOT_MAX_DISKS * SNAPSHOT_FDS) < 0)
		return error_errno(err, QMPSNAP_REFUSED, errno, "%s", address.sun_path);
	return true;
}

bool server_listen(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	return make_folder(s, err) && listen_in_folder(s, err);
}

static void on_started(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine = {0};

	(void)result;
	if (!err) {
		s->server = SERVER_OURS;
		(void)record_server(s, &mine);
	} else {
		mine = *err;
		if (qmp_error_class(s->qmp)[0]) {
			/* QEMU answered, so it hasn't started ours. */
			s->server = SERVER_NONE;
			mine.code = QMPSNAP_REFUSED;
			error_hint(&mine, "QEMU has one NBD server at most, and another tool's is "
					  "left alone: --method backup needs none");
			if (plan_without_server(s))
				mine = (struct qmpsnap_error){0};
		}
	}
	flow_done(&s->flow, &mine);
}

/* On `type` "fd" with `str`, or "unix" with `path`. */
static void start_at(
	struct qmpsnap_snapshot *s, const char *type, const char *key, const char *value)
{
	struct json_object *args = json_new();
	struct json_object *address = json_new();
	struct json_object *inner = json_new();

	json_put_string(inner, key, value);
	json_put_string(address, "type", type);
	json_put(address, "data", inner);
	json_put(args, "addr", address);
	json_put_uint(args, "max-connections", s->n_disks * SNAPSHOT_FDS);
	qmp_execute(s->qmp, "nbd-server-start", args, on_started, s);
}

static void on_fd_sent(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	char name[NAME_NODE_BYTES];

	(void)result;
	close(s->listen_fd);
	s->listen_fd = -1;
	if (err) {
		flow_done(&s->flow, err);
		return;
	}
	name_node(name, s->run, "n", 0);
	start_at(s, "fd", "str", name);
}

bool server_was_refused(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return s->server_refused;
}

void server_start(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct sockaddr_un address;
	struct qmpsnap_error err;
	char name[NAME_NODE_BYTES];

	if (!make_folder(s, &err) || (!s->by_paths && !listen_in_folder(s, &err))) {
		flow_done(f, &err);
		return;
	}
	if (s->by_paths) {
		socket_address(s, &address);
		start_at(s, "unix", "path", address.sun_path);
		return;
	}
	struct json_object *args = json_new();
	name_node(name, s->run, "n", 0);
	json_put_string(args, "fdname", name);
	qmp_execute_with_fd(s->qmp, "getfd", args, s->listen_fd, on_fd_sent, s);
}

int server_connect(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	struct sockaddr_un address;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	socket_address(s, &address);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error_errno(err, QMPSNAP_QEMU, errno, "QEMU's NBD server at %s", address.sun_path);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* ---- Undo ---- */

static void close_passed_fd(struct qmpsnap_snapshot *s);

/* QEMU refuses an unknown name, which is what is wanted, and any other failure alike: a second
 * refusal is taken for the first kind.  Whether QEMU is gone the next step sees. */
static void on_fd_closed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (err && !s->close_refused) {
		s->close_refused = true;
		close_passed_fd(s);
		return;
	}
	flow_done(&s->flow, &s->disk_err);
}

static void close_passed_fd(struct qmpsnap_snapshot *s)
{
	struct json_object *args;
	char name[NAME_NODE_BYTES];

	server_unlink(s);
	if (snapshot_qemu_is_gone(s)) {
		flow_done(&s->flow, &s->disk_err);
		return;
	}
	args = json_new();
	name_node(name, s->run, "n", 0);
	json_put_string(args, "fdname", name);
	qmp_execute(s->qmp, "closefd", args, on_fd_closed, s);
}

/* "not running" is well: somebody, or a guard before us, has stopped it.  It is told from other
 * refusals by asking again, as with the descriptor. */
static void on_stopped(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	(void)result;
	if (err && !snapshot_qemu_is_gone(s)) {
		if (!qmp_error_class(s->qmp)[0]) {
			s->disk_err = *err;
		} else if (!s->stop_refused) {
			s->stop_refused = true;
			qmp_execute(s->qmp, "nbd-server-stop", NULL, on_stopped, s);
			return;
		}
	}
	s->server = SERVER_NONE;
	close_passed_fd(s);
}

/* Exports of others stand on our server: then it stays, for them. */
static void on_exports(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (err || json_length(result) > 0) {
		if (err && !snapshot_qemu_is_gone(s))
			s->disk_err = *err;
		close_passed_fd(s);
		return;
	}
	qmp_execute(s->qmp, "nbd-server-stop", NULL, on_stopped, s);
}

/* A server that runs on our socket greets whoever connects; a socket that only lies in QEMU's
 * hands, or whose start was refused, doesn't.  The NBD specification: "NBDMAGIC" comes first.
 * Waits for at most SERVER_PROBE_MS, only in an undo whose nbd-server-start wasn't answered. */
static bool ours_greets(struct qmpsnap_snapshot *s)
{
	struct qmpsnap_error err;
	char magic[8];
	bool greets = false;

	if (!s->server_folder)
		return false;
	const int fd = server_connect(s, &err);
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	if (fd >= 0 && poll(&wait, 1, SERVER_PROBE_MS) == 1)
		greets = read(fd, magic, sizeof(magic)) == (ssize_t)sizeof(magic) &&
			 memcmp(magic, "NBDMAGIC", sizeof(magic)) == 0;
	if (fd >= 0)
		close(fd);
	return greets;
}

void server_stop(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	s->listen_fd = -1;
	if (!snapshot_qemu_is_gone(s) && s->server == SERVER_IN_DOUBT)
		s->server = ours_greets(s) ? SERVER_OURS : SERVER_NONE;
	if (!snapshot_qemu_is_gone(s) && s->server == SERVER_OURS && !s->keep_server)
		qmp_execute(s->qmp, "query-block-exports", NULL, on_exports, s);
	else
		close_passed_fd(s);
}
