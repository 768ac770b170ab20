/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_nbd.h - an NBD server on a thread, for what QEMU's doesn't do: one connection, an export
 * filled with kit_pattern().
 */
#ifndef TESTS_FAKE_NBD_H
#define TESTS_FAKE_NBD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct fake_nbd {
	/* To be set: */
	uint64_t size_bytes;
	uint32_t max_read_bytes; /* 0: doesn't say */
	bool no_map; /* has no base:allocation */
	bool depth; /* has qemu:allocation-depth in its place: what would read as zeroes is
		       allocated */
	bool lies; /* answers reads of several clusters with zeroes, which the pattern never has */
	uint64_t extent_bytes; /* describes one extent of at most that; 0: one of length 0 */
	unsigned silent_after; /* requests; then it reads on and says nothing; 0: never */
	unsigned error_after; /* requests; then they fail (EPERM), as in a broken view; 0: never */
	unsigned garbage_after; /* requests; then it answers nonsense; 0: never */

	/* What it saw: */
	unsigned n_reads, n_wide_reads /* of more than a cluster */, n_maps;
	uint32_t longest_read_bytes;

	int fd;
	pthread_t thread;
};

/* Returns the client's socket. */
int fake_nbd_start(struct fake_nbd *fake);
/* After the client has closed. */
void fake_nbd_join(struct fake_nbd *fake);

#endif
