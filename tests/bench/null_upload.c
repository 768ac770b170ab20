/* SPDX-License-Identifier: Apache-2.0
 *
 * null_upload SOCKET EXPORT SCRATCH SIZE URL [DIGEST] - PUTs an NBD export as qcow2 to a URL,
 * with the code and the settings of a snapshot (view, layout, reader, pump, HTTP) and nothing
 * else: no monitor, no store.  Without DIGEST none is computed, which no real store allows.
 * SCRATCH is the export of the view's scratch, which the reads are checked against, as they must
 * be with a QEMU before 8.0; "-": they aren't. */
#include "base/error.h"
#include "blockops/snapshot.h"
#include "blockops/view.h"
#include "upload/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

struct run {
	uv_loop_t loop;
	const char *url, *digest;
	struct view *view, *scratch;
	struct cluster_map map;
	struct layout layout;
	struct stream *stream;
	struct pump *pump;
	struct http *http;
	unsigned n_opened;
	struct qmpsnap_error err;
};

static void on_view_closed(void *data)
{
	(void)data;
}

static void on_pump_closed(void *data)
{
	struct run *run = data;

	view_close(run->view, on_view_closed, NULL);
	if (run->scratch)
		view_close(run->scratch, on_view_closed, NULL);
}

static void end(struct run *run, const struct qmpsnap_error *err)
{
	if (err && run->err.code == QMPSNAP_OK)
		run->err = *err;
	http_free(run->http);
	if (run->pump)
		pump_close(run->pump, on_pump_closed, run);
	else
		on_pump_closed(run);
}

static void on_pump(void *data)
{
	struct run *run = data;

	if (pump_error(run->pump) || pump_finished(run->pump))
		end(run, pump_error(run->pump));
}

static void on_sent(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct run *run = data;
	struct qmpsnap_error refused;

	if (!err && reply->status != 204) {
		error_set(&refused, QMPSNAP_STORE, "the sink answered %ld", reply->status);
		err = &refused;
	}
	if (err) {
		end(run, err);
		return;
	}
	pump_on_event(run->pump, on_pump, run);
	on_pump(run);
}

static bool send_image(struct run *run, struct qmpsnap_error *err)
{
	const struct pump_options options = {
		.loop = &run->loop, .stream = run->stream, .digest = run->digest};

	run->pump = pump_open(&options, err);
	if (!run->pump)
		return false;
	const struct http_request request = {.method = "PUT", .url = run->url, .pump = run->pump};
	return http_start(run->http, &request, on_sent, run, err) != NULL;
}

static void on_map(const struct qmpsnap_error *err, void *data)
{
	struct run *run = data;
	struct qmpsnap_error mine;

	if (err) {
		end(run, err);
		return;
	}
	layout_init(&run->layout, QMPSNAP_QCOW2, &run->map);
	run->stream = view_stream(
		run->view, &run->layout, SNAPSHOT_BLOCK_BYTES, SNAPSHOT_RING_BLOCKS, NULL);
	if (!send_image(run, &mine))
		end(run, &mine);
}

static void on_opened(const struct qmpsnap_error *err, void *data)
{
	struct run *run = data;

	if (err) {
		end(run, err);
	} else if (++run->n_opened == (run->scratch ? 2 : 1)) {
		if (run->scratch)
			view_check_reads(run->view, run->scratch);
		view_map(run->view, &run->map, on_map, run);
	}
}

static bool connect_to(const char *path, int *fd, struct qmpsnap_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (*fd < 0 || connect(*fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(err, QMPSNAP_VIEW, "%s can't be connected to", path);
	return true;
}

static struct view *open_export(
	struct run *run, char *const *args, const char *export, size_t n, struct qmpsnap_error *err)
{
	const struct view_options options = {.export_name = export,
		.disk = "bench",
		.expected_size_bytes = run->map.virtual_size_bytes};
	int fds[SNAPSHOT_CONNECTIONS];

	for (size_t i = 0; i < n; i++) {
		if (!connect_to(args[0], &fds[i], err))
			return NULL;
	}
	return view_open(&run->loop, fds, n, &options, on_opened, run, err);
}

static bool start(struct run *run, char *const *args, struct qmpsnap_error *err)
{
	run->url = args[4];
	run->digest = args[5];
	if (!cluster_map_init(&run->map, strtoull(args[3], NULL, 10), err))
		return false;
	run->http = http_new(&run->loop, NULL, err);
	if (!run->http)
		return false;
	run->view = open_export(run, args, args[1], SNAPSHOT_CONNECTIONS, err);
	if (!run->view || strcmp(args[2], "-") == 0)
		return run->view != NULL;
	run->scratch = open_export(run, args, args[2], 1, err);
	return run->scratch != NULL;
}

int main(int argc, char **argv)
{
	struct run run = {.err = {.code = QMPSNAP_OK}};
	struct qmpsnap_error err;

	if (argc < 6 || argc > 7) {
		(void)fprintf(
			stderr, "usage: null_upload SOCKET EXPORT SCRATCH SIZE URL [DIGEST]\n");
		return 2;
	}
	if (uv_loop_init(&run.loop) < 0)
		return 1;
	if (!start(&run, argv + 1, &err)) {
		(void)fprintf(stderr, "null_upload: %s\n", err.message);
		return 1;
	}
	(void)uv_run(&run.loop, UV_RUN_DEFAULT);
	cluster_map_free(&run.map);
	if (run.err.code != QMPSNAP_OK)
		(void)fprintf(stderr, "null_upload: %s\n", run.err.message);
	return run.err.code == QMPSNAP_OK && uv_loop_close(&run.loop) == 0 ? 0 : 1;
}
