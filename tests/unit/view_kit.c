/* SPDX-License-Identifier: Apache-2.0 */
#include "view_kit.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void set_address(struct sockaddr_un *address, const char *path)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	ck_assert_uint_lt(strlen(path), sizeof(address->sun_path));
	memcpy(address->sun_path, path, strlen(path) + 1);
}

/* In the child: the listening socket is passed as systemd would. */
static void exec_server(int listener, char *const argv[])
{
	char pid[16];

	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setenv("LISTEN_PID", pid, 1);
	(void)setenv("LISTEN_FDS", "1", 1);
	/* It would complain about each client that leaves without a word, as the view does. */
	if (!freopen("/dev/null", "w", stderr) || dup2(listener, 3) < 0 || fcntl(3, F_SETFD, 0) < 0)
		_exit(127);
	(void)execvp(argv[0], argv);
	_exit(127);
}

static void start(struct view_server *server, char *const argv[])
{
	static unsigned n;
	struct sockaddr_un address;
	char name[64];

	(void)snprintf(name, sizeof(name), "nbd-%d-%u", (int)getpid(), n++);
	kit_path(server->socket, name);
	set_address(&address, server->socket);
	const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
	server->pid = fork();
	ck_assert_int_ge(server->pid, 0);
	if (server->pid == 0)
		exec_server(listener, argv);
	ck_assert_int_eq(close(listener), 0);
}

void server_start(struct view_server *server, const char *format, const char *image)
{
	char *by_format[] = {"qemu-nbd", "-t", "-r", "-x", KIT_EXPORT, "-e", "8", "-f",
		(char *)format, (char *)image, NULL};
	char *by_options[] = {"qemu-nbd", "-t", "-r", "-x", KIT_EXPORT, "-e", "8", "--image-opts",
		(char *)image, NULL};

	start(server, format ? by_format : by_options);
}

void server_start_scratch(struct view_server *server, const char *image)
{
	char *argv[] = {"qemu-nbd", "-t", "-r", "-A", "-x", KIT_EXPORT, "-e", "8", "-f", "qcow2",
		(char *)image, NULL};

	start(server, argv);
}

void server_kill(struct view_server *server)
{
	ck_assert_int_eq(kill(server->pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(server->pid, NULL, 0), server->pid);
	(void)unlink(server->socket);
}

int server_connect(const struct view_server *server)
{
	struct sockaddr_un address;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	set_address(&address, server->socket);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void on_done(const struct qmpsnap_error *err, void *data)
{
	struct view_run *run = data;

	run->n_done++;
	if (err)
		run->err = *err;
}

static bool wait_done(struct view_run *run, unsigned n)
{
	ck_assert_uint_eq(run->n_done, n - 1);
	while (run->n_done < n)
		(void)uv_run(run->loop, UV_RUN_ONCE);
	ck_assert_uint_eq(run->n_done, n);
	return run->err.code == QMPSNAP_OK;
}

bool run_open_fds(struct view_run *run, uv_loop_t *loop, const int *fds, size_t n_fds,
	const struct view_options *options)
{
	struct qmpsnap_error err;

	*run = (struct view_run){.loop = loop};
	ck_assert(cluster_map_init(&run->map, options->expected_size_bytes, &err));
	run->view = view_open(loop, fds, n_fds, options, on_done, run, &err);
	ck_assert_ptr_nonnull(run->view);
	return wait_done(run, 1);
}

bool run_open(struct view_run *run, uv_loop_t *loop, const struct view_server *server, size_t n_fds,
	uint64_t size_bytes)
{
	const struct view_options options = {
		.export_name = KIT_EXPORT, .disk = "vd0", .expected_size_bytes = size_bytes};
	int fds[8];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = server_connect(server);
	return run_open_fds(run, loop, fds, n_fds, &options);
}

bool run_map(struct view_run *run)
{
	view_map(run->view, &run->map, on_done, run);
	return wait_done(run, 2);
}

void run_stream(struct view_run *run, enum qmpsnap_format format, uint32_t block_bytes,
	unsigned ring_blocks, struct pace *pace)
{
	layout_init(&run->layout, format, &run->map);
	run->stream = view_stream(run->view, &run->layout, block_bytes, ring_blocks, pace);
	ck_assert_uint_eq(run->stream->size_bytes, run->layout.size_bytes);
	ck_assert_uint_eq(run->stream->block_bytes, block_bytes);
}

static void on_view_closed(void *data)
{
	*(bool *)data = true;
}

void run_close(struct view_run *run)
{
	const unsigned n_done = run->n_done;
	bool closed = false;

	view_close(run->view, on_view_closed, &closed);
	ck_assert(!closed);
	ck_assert_int_eq(uv_run(run->loop, UV_RUN_DEFAULT), 0);
	ck_assert(closed);
	ck_assert_uint_eq(run->n_done, n_done);
	cluster_map_free(&run->map);
}

static void on_consumer_closed(void *data)
{
	struct consumer *c = data;

	ck_assert(!c->inside);
	c->closed = true;
}

void consumer_close(struct consumer *c)
{
	c->inside = true;
	c->reader->ops->close(c->reader, on_consumer_closed, c);
	c->inside = false;
	c->reader = NULL;
}

static void check_block(struct consumer *c, const struct stream_block *block)
{
	const uint64_t left = c->length - c->got;

	ck_assert_uint_eq(block->len, left < c->block_bytes ? left : c->block_bytes);
	ck_assert_uint_eq((uintptr_t)block->data % STREAM_ALIGN_BYTES, 0);
	if (block->zero) {
		c->n_zero_blocks++;
		ck_assert_uint_eq(block->data[0], 0);
		ck_assert_int_eq(memcmp(block->data, block->data + 1, block->len - 1), 0);
	}
	if (c->fd >= 0)
		ck_assert_int_eq(pwrite(c->fd, block->data, block->len, (off_t)c->got), block->len);
}

bool consumer_take_one(struct consumer *c)
{
	ck_assert(!c->inside);
	c->inside = true;

	const struct stream_block *block = c->reader->ops->block(c->reader, 0);
	if (block) {
		check_block(c, block);
		c->got += block->len;
		c->reader->ops->release(c->reader, 1);
	}
	c->inside = false;
	return block != NULL;
}

void consumer_take(struct consumer *c)
{
	while (!c->hold && consumer_take_one(c) && !c->one_by_one)
		;

	const struct qmpsnap_error *err = c->reader->ops->error(c->reader);
	if (c->got == c->length) {
		ck_assert_ptr_null(err);
	} else if (err) {
		c->err = *err;
	} else {
		return;
	}
	consumer_close(c);
}

static void on_ready(void *data)
{
	struct consumer *c = data;

	ck_assert_msg(!c->inside, "ready from within a call into the reader");
	ck_assert_msg(c->reader != NULL, "ready after close");
	consumer_take(c);
}

void consumer_open(
	struct consumer *c, struct stream *stream, uint64_t offset, uint64_t length, int fd)
{
	struct qmpsnap_error err = {.code = QMPSNAP_OK};

	*c = (struct consumer){
		.block_bytes = stream->block_bytes, .length = length, .fd = fd, .inside = true};
	c->reader = stream->ops->open(stream, offset, length, on_ready, c, &err);
	c->inside = false;
	ck_assert_msg(c->reader != NULL, "%s", err.message);
}

void consumer_wait(struct consumer *c, uv_loop_t *loop)
{
	while (!c->closed)
		(void)uv_run(loop, UV_RUN_ONCE);
}

static void on_time(uv_timer_t *timer)
{
	uv_close((uv_handle_t *)timer, NULL);
	uv_stop(timer->loop);
}

void kit_run_loop_ms(uv_loop_t *loop, uint64_t ms)
{
	uv_timer_t timer;

	uv_update_time(loop);
	ck_assert_int_eq(uv_timer_init(loop, &timer), 0);
	ck_assert_int_eq(uv_timer_start(&timer, on_time, ms, 0), 0);
	(void)uv_run(loop, UV_RUN_DEFAULT);
	/* Lets the timer leave the loop before this frame. */
	(void)uv_run(loop, UV_RUN_NOWAIT);
}

void run_read_all(struct view_run *run, const char *path)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct consumer c;

	ck_assert_int_ge(fd, 0);
	consumer_open(&c, run->stream, 0, run->stream->size_bytes, fd);
	if (c.length == 0)
		consumer_close(&c);
	consumer_wait(&c, run->loop);
	ck_assert_msg(c.err.code == QMPSNAP_OK, "%s", c.err.message);
	ck_assert_uint_eq(c.got, run->stream->size_bytes);
	ck_assert_int_eq(close(fd), 0);
}

void kit_make_disk(const char *raw, const char *qcow2, uint64_t size, uint64_t grain)
{
	static uint8_t bytes[1 << 20];
	const int fd = open(raw, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *argv[] = {"qemu-img", "convert", "-f", "raw", "-O", "qcow2", (char *)raw,
		(char *)qcow2, NULL};

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	for (uint64_t at = 0; at < size;) {
		uint64_t length = grain * (1 + kit_random(8));

		if (length > size - at)
			length = size - at;
		if (length > sizeof(bytes))
			length = sizeof(bytes);
		if (kit_random(2)) {
			kit_pattern(at, bytes, (size_t)length);
			ck_assert_int_eq(
				pwrite(fd, bytes, (size_t)length, (off_t)at), (ssize_t)length);
		}
		at += length;
	}
	ck_assert_int_eq(close(fd), 0);
	ck_assert_int_eq(kit_run(NULL, argv), 0);
}
