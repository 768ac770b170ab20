/* SPDX-License-Identifier: Apache-2.0
 *
 * answers.h - stands in for upload/http.c: what the stores ask is answered from the input, and no
 * byte crosses a socket.  Timers of the program expire at once (the linker's --wrap).
 *
 * An answer is "STATUS\nName: value\n...\n\nBODY"; "\n---\n" separates answers.  Behind the last
 * one there is no service any more.
 */
#ifndef TESTS_FUZZ_ANSWERS_H
#define TESTS_FUZZ_ANSWERS_H

#include "fuzz.h"

/* Answers come from `in` from now on. */
void answers_begin(struct fuzz_input *in);

/* Calls that haven't ended. */
unsigned answers_pending(void);

#endif
