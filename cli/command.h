/* SPDX-License-Identifier: Apache-2.0
 *
 * command.h - the commands.  Each runs the loop until its work is done and returns the exit code;
 * the loop may then still have handles that are closing.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/options.h"

#include <uv.h>

int command_snapshot(uv_loop_t *loop, const struct options *options);
int command_inspect(uv_loop_t *loop, const struct options *options);
int command_recover(uv_loop_t *loop, const struct options *options);

/* `images ...` and `restore` */
int command_images(uv_loop_t *loop, const struct options *options);

/* `status`, `speed` and `cancel`; needs no loop. */
int command_control(const struct options *options);

#endif
