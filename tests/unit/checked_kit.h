/* SPDX-License-Identifier: Apache-2.0
 *
 * checked_kit.h - for tests of checked reads: a view of a fake server or of a real one, a scratch
 * of either kind, and readers of the whole disk.
 */
#ifndef TESTS_CHECKED_KIT_H
#define TESTS_CHECKED_KIT_H

#include "fake_nbd.h"
#include "view_kit.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

enum {
	BLOCK_BYTES = 512 << 10, /* of one read */
	MOST_BYTES = 17 << 20, /* of a disk */
	SETTLE_MS = 150, /* until all that needs no answer has been done */
};

/* May be changed until they are served.  The view's has 16 MiB and lies as an old QEMU does, but
 * about all wide reads. */
extern struct fake_nbd fake, fake_scratch;
extern struct view_server scratch_server;
extern struct view_run run, scratch;
extern uint8_t got[MOST_BYTES]; /* the disk, as far as it was taken */

void checked_setup(uv_loop_t *its_loop);
void checked_teardown(void);

/* The fake server's, with nothing in its map yet; the same, all of it known as data; or a real
 * server's, of a new disk, which reads rightly. */
void open_fake(struct view_run *view, struct fake_nbd *of);
void view_of_fake(void);
void view_of_disk(uint64_t size);

/* Then its scratch: a real one that holds the clusters at these offsets, or some, the last one
 * among them; or the fake one, which holds the extents of `extent_bytes` with an odd number. */
void make_scratch(const uint64_t *offsets, size_t n);
void make_random_scratch(void);
void make_fake_scratch(uint64_t extent_bytes);
void signal_scratch(int number);

/* Then a raw stream of the view, checked. */
void check_reads(void);

/* A reader from `offset` on; take() waits until it has come to its end, and has the bytes in
 * `got`. */
void open_reader(struct consumer *c, uint64_t offset);
void take(struct consumer *c, uint64_t offset);

/* `got` has the bytes of the real disk from `offset` on. */
void assert_disk(uint64_t offset);

/* Closes the scratch before its view. */
void end_scratch(void);

/* Closes the view, then the scratch, and ends the servers. */
void end(void);

#endif
