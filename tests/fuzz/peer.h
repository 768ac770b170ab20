/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.h - the other side of a client's socket, which says what the input says.
 *
 * The input is lines.  What begins with '=' is the value, with '!' the error of an answer to the
 * oldest command that has none; '^' (for agents) is the answer to the sync; '+' ends with no
 * newline; everything else goes out as it is.
 */
#ifndef TESTS_FUZZ_PEER_H
#define TESTS_FUZZ_PEER_H

#include "fuzz.h"

#include <uv.h>

enum { PEER_ID_BYTES = 64, PEER_MOST_IDS = 64 };

struct peer {
	int fd;
	char received[4096]; /* the beginning of a line that has yet to end */
	size_t n_received;
	char ids[PEER_MOST_IDS]
		[PEER_ID_BYTES]; /* of commands, as JSON: unanswered ones, in a ring */
	unsigned first, n_ids;
};

/* Returns the client's end of the socket. */
int peer_open(struct peer *peer);

/* Says all lines, each after the loop has had its turns; then closes the socket. */
void peer_run(struct peer *peer, uv_loop_t *loop, struct fuzz_input *in);

#endif
