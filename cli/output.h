/* SPDX-License-Identifier: Apache-2.0
 *
 * output.h - writing to stdout and stderr from the loop without waiting for whoever reads them: a
 * pager, a pipe nobody drains or a terminal stopped by ^S must not hold up an undo.
 *
 * The descriptors are shared with other processes, so O_NONBLOCK isn't ours to set; poll() is
 * asked before each write instead, and what doesn't fit waits in memory.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

struct output {
	int fd; /* borrowed */
	char *pending;
	size_t len, capacity;
	int error; /* errno of the write that failed; then all further text is dropped */
};

void output_init(struct output *out, int fd);

/* Writes or queues `len` bytes.  Over 4 MiB of queue the text is dropped, as it is after an error.
 * False without memory: then it is, too. */
bool output_put(struct output *out, const char *text, size_t len);

/* A formatted text, cleaned with text_clean_lines(). */
void output_printf(struct output *out, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Writes of the queue what goes without waiting; whether it is empty now. */
bool output_flush(struct output *out);

/* Writes the queue, waiting for the reader; for the end, when nothing is left to undo.  False
 * when a write has failed at any time; `error` says why. */
bool output_wait(struct output *out);

/* Frees the queue. */
void output_free(struct output *out);

#endif
