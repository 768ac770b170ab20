/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot_guests - an example of a program that embeds libqmpsnap: it takes snapshots of several
 * guests at once, on an event loop of its own.
 *
 *   snapshot_guests STORE QMP_ADDRESS...
 *
 * Build it against the installed library:
 *
 *   cc -o snapshot_guests snapshot_guests.c $(pkg-config --cflags --libs qmpsnap libuv)
 */
#include <inttypes.h>
#include <qmpsnap.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

/* One guest's snapshot; it is handed to the callbacks as their `data`. */
struct guest {
	const char *address;
	struct program *program;
	struct qmpsnap_store *store;
	struct qmpsnap_snapshot *snapshot; /* NULL before it began and once it has ended */
};

struct program {
	uv_loop_t loop;
	uv_signal_t interrupt;
	uv_timer_t clock; /* what else this program does on its loop */
	unsigned ticks;
	unsigned under_way;
	unsigned failed;
	size_t n_guests;
	struct guest *guests;
};

static void on_event(const struct qmpsnap_event *event, void *data)
{
	const struct guest *guest = data;

	/* The strings live until this returns: copy what is to be kept. */
	if (event->kind == QMPSNAP_EVENT_WARNING)
		(void)fprintf(stderr, "%s: warning: %s\n", guest->address, event->text);
	else if (event->kind == QMPSNAP_EVENT_STEP && event->phase == QMPSNAP_BEGIN)
		(void)printf("%s: %s\n", guest->address, event->text);
}

/* Called once for each snapshot that was started, after everything was undone or released: the
 * guest runs as before, whether it went well or not. */
static void on_done(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result, void *data)
{
	struct guest *guest = data;
	struct program *program = guest->program;

	if (err) {
		(void)fprintf(stderr, "%s: %s\n", guest->address, err->message);
		if (err->hint[0])
			(void)fprintf(stderr, "%s: hint: %s\n", guest->address, err->hint);
		program->failed++;
	}
	if (result->undo_error) /* even so: something of ours may be left in that QEMU */
		(void)fprintf(stderr, "%s: %s\n", guest->address, result->undo_error->message);
	for (size_t i = 0; i < result->n_images; i++) {
		const struct qmpsnap_image *image = &result->images[i];

		(void)printf("%s: disk %s is %s, %" PRIu64 " bytes, as it was at %s\n",
			guest->address, image->disk, image->location, image->size_bytes,
			result->instant);
	}
	guest->snapshot = NULL; /* the handle is gone when this returns */
	qmpsnap_store_close(guest->store); /* allowed from here on */
	if (--program->under_way == 0) { /* let uv_run() return */
		uv_close((uv_handle_t *)&program->interrupt, NULL);
		uv_close((uv_handle_t *)&program->clock, NULL);
	}
}

static void on_interrupt(uv_signal_t *handle, int signum)
{
	struct program *program = handle->data;

	(void)signum;
	/* This only asks for it: each on_done() still comes, when its guest is as before. */
	for (size_t i = 0; i < program->n_guests; i++) {
		if (program->guests[i].snapshot)
			qmpsnap_snapshot_cancel(program->guests[i].snapshot, QMPSNAP_INTERRUPTED);
	}
}

static void on_tick(uv_timer_t *handle)
{
	struct program *program = handle->data;

	program->ticks++;
}

static int start(struct guest *guest, const char *spec)
{
	uv_loop_t *loop = &guest->program->loop;
	struct qmpsnap_error err;

	/* A store for each snapshot; it must live until on_done(). */
	guest->store = qmpsnap_store_open(loop, spec, NULL, &err);
	if (guest->store) {
		/* What isn't named has a default: all disks, the best method, qcow2.  The library
		 * copies the strings. */
		const struct qmpsnap_snapshot_options options = {
			.qmp_address = guest->address,
			.store_spec = qmpsnap_store_spec(guest->store),
			/* The guard is found by itself where the library was installed as a whole;
			 * here a variable may name it instead. */
			.guard_path = getenv("SNAPSHOT_GUESTS_GUARD"),
		};

		guest->snapshot = qmpsnap_snapshot_start(
			loop, &options, guest->store, on_event, on_done, guest, &err);
	}
	if (guest->snapshot) {
		guest->program->under_way++;
		return 0;
	}
	/* It could not even begin, and on_done() will not be called. */
	(void)fprintf(stderr, "%s: %s\n", guest->address, err.message);
	qmpsnap_store_close(guest->store); /* NULL is fine */
	guest->program->failed++;
	return -1;
}

static int run(struct program *program, const char *spec, char *const addresses[])
{
	if (uv_loop_init(&program->loop) != 0)
		return 1;
	uv_signal_init(&program->loop, &program->interrupt);
	uv_timer_init(&program->loop, &program->clock);
	program->interrupt.data = program->clock.data = program;
	uv_signal_start(&program->interrupt, on_interrupt, SIGINT);
	uv_timer_start(&program->clock, on_tick, 10, 10);
	for (size_t i = 0; i < program->n_guests; i++) {
		program->guests[i] = (struct guest){.address = addresses[i], .program = program};
		start(&program->guests[i], spec);
	}
	if (program->under_way == 0) {
		uv_close((uv_handle_t *)&program->interrupt, NULL);
		uv_close((uv_handle_t *)&program->clock, NULL);
	}
	uv_run(&program->loop, UV_RUN_DEFAULT);
	(void)printf("%u of %zu failed; meanwhile the program's own timer fired %u times\n",
		program->failed, program->n_guests, program->ticks);
	/* The library has closed all its handles: nothing of it is left on the loop. */
	if (uv_loop_close(&program->loop) == 0)
		return program->failed > 0;
	(void)fprintf(stderr, "handles are left on the loop\n");
	return 3;
}

int main(int argc, char *argv[])
{
	struct program program = {.n_guests = argc > 2 ? (size_t)argc - 2 : 0};

	if (program.n_guests == 0) {
		(void)fprintf(stderr, "usage: snapshot_guests STORE QMP_ADDRESS...\n");
		return 2;
	}
	/* A socket whose other end is gone is an error, not the end of the program. */
	(void)signal(SIGPIPE, SIG_IGN);
	program.guests = calloc(program.n_guests, sizeof(*program.guests));
	if (!program.guests)
		return 1;
	const int status = run(&program, argv[1], argv + 2);

	free(program.guests);
	return status;
}
