/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect_text.h - what qmpsnap_inspect() found, for people to read.
 */
#ifndef CLI_INSPECT_TEXT_H
#define CLI_INSPECT_TEXT_H

#include "base/json.h"
#include "cli/output.h"

/* A line for the guest, a block for each disk, and what this QEMU can and can't do; members that
 * are missing are left out. */
void inspect_text(struct output *out, struct json_object *guest);

#endif
